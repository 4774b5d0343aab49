"""When a schedule fires: a cron line checked field by field, in the one time zone that the cluster reads.

Kubeflow reads six fields, seconds first. It also takes five, and then reads the first as seconds: a line that means
"at four in the morning" to everybody else fires all day. So five fields are turned into six here. A recurring run
carries no time zone either: the whole cluster reads cron in one (`CRON_SCHEDULE_TIMEZONE` of its controller, UTC
unless set), so a schedule in another zone is refused, unless both clocks show the same time all year.
"""

from __future__ import annotations

import datetime
import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass

from mmgen.errors import ConfigError

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS = (
    ("second", 0, 59),
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 6),
)
NAMES = {
    "month": {name: n for n, name in enumerate(MONTHS, 1)},
    "day of week": {name: n for n, name in enumerate(DAYS)},
}

YEARS = 5
"""How far ahead a firing is looked for; the cluster's own reader gives up there too."""

_PART = re.compile(r"(?:(?P<all>[*?])|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>\d+))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cron:
    """A checked cron line."""

    line: str
    """Six fields, as Kubeflow reads them."""
    values: tuple[frozenset[int], ...]
    """Values of each field."""
    any_day: tuple[bool, bool]
    """Whether day of month and day of week were left open: with both set, either is enough."""


def parse(text: str) -> Cron:
    """Check a cron line of five or six fields.

    >>> parse("30 4 * * mon").line
    '0 30 4 * * mon'

    Raises:
        ConfigError: names the field and what was found there, or the line that never fires.
    """
    words = text.lower().split()
    if len(words) not in (5, 6):
        raise ConfigError(
            f"cron {text!r} has {len(words)} fields; give five (minute hour day month weekday), such as "
            '"30 4 * * mon", or six with the second first'
        )
    words = words if len(words) == 6 else ["0", *words]
    values = tuple(_values(text, word, *field) for word, field in zip(words, FIELDS, strict=True))
    cron = Cron(line=" ".join(words), values=values, any_day=(words[3][0] in "*?", words[5][0] in "*?"))
    if next(firings(cron, datetime.UTC, datetime.datetime.now(datetime.UTC)), None) is None:
        raise ConfigError(f"cron {text!r} never fires in {YEARS} years; look at its day and month")
    return cron


def zone(name: str) -> zoneinfo.ZoneInfo:
    """The time zone called `name`.

    Raises:
        ConfigError: there is none.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(f"no time zone is called {name!r}; give one such as Europe/Berlin or UTC") from error


def check_zone(asked: str, cluster: str) -> zoneinfo.ZoneInfo:
    """The zone asked for, if its clock and the cluster's show the same time all year.

    Raises:
        ConfigError: an unknown zone, or one that the cluster does not read cron in.
    """
    wanted, read = zone(asked), zone(cluster)
    now = datetime.datetime.now(datetime.UTC)
    for day in range(366):
        moment = now + datetime.timedelta(days=day)
        if moment.astimezone(wanted).utcoffset() != moment.astimezone(read).utcoffset():
            raise ConfigError(
                f"the cluster reads cron in {cluster}, not in {asked}; give the time in {cluster}, or set "
                f"CRON_SCHEDULE_TIMEZONE={asked} on ml-pipeline-scheduledworkflow and KFP_CRON_ZONE={asked} here"
            )
    return wanted


def firings(cron: Cron, where: datetime.tzinfo, after: datetime.datetime) -> Iterator[datetime.datetime]:
    """The times after `after` at which `cron` fires in the zone `where`, in order."""
    seconds, minutes, hours, days, months, weekdays = cron.values
    date = after.astimezone(where).date()
    for _ in range(YEARS * 366):
        by_month, by_week = date.day in days, date.isoweekday() % 7 in weekdays
        today = (by_month and by_week) if any(cron.any_day) else (by_month or by_week)
        for hour in sorted(hours) if today and date.month in months else ():
            for minute in sorted(minutes):
                for second in sorted(seconds):
                    moment = datetime.datetime.combine(date, datetime.time(hour, minute, second), where)
                    clock = moment.astimezone(datetime.UTC).astimezone(where)
                    # An hour that the clock skips in spring does not fire.
                    if moment > after and clock.replace(tzinfo=None) == moment.replace(tzinfo=None):
                        yield moment
        date += datetime.timedelta(days=1)


def _values(text: str, word: str, name: str, least: int, most: int) -> frozenset[int]:
    found: set[int] = set()
    for part in word.split(","):
        match = _PART.fullmatch(part)
        low, high, step = least, most, 1
        if match is not None:
            step = int(match["step"] or 1)
            if not match["all"]:
                low = _number(match["low"], name)
                high = _number(match["high"], name) if match["high"] else most if match["step"] else low
        if match is None or step < 1 or not least <= low <= high <= most:
            raise ConfigError(f"cron {text!r}: the {name} {part!r} is not one of {least} to {most}")
        found |= set(range(low, high + 1, step))
    return frozenset(found)


def _number(word: str, name: str) -> int:
    """A number or name of a field; -1, which is in no field, for anything else."""
    return int(word) if word.isascii() and word.isdecimal() else NAMES.get(name, {}).get(word, -1)
