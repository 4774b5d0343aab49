"""Schedules: a cron line means what people mean by it, and what the cluster would misread is refused."""

from __future__ import annotations

import datetime
import itertools
import zoneinfo

import pytest

from mmgen.errors import ConfigError
from pipelines.cluster.cron import check_zone, firings, parse

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def first(text: str, after: str, count: int = 3, zone: datetime.tzinfo = datetime.UTC) -> list[str]:
    moment = datetime.datetime.fromisoformat(after).replace(tzinfo=datetime.UTC)
    return [found.isoformat() for found in itertools.islice(firings(parse(text), zone, moment), count)]


def test_five_fields_become_six_with_the_second_first() -> None:
    assert parse("30 4 * * 1").line == "0 30 4 * * 1"
    assert parse("15 30 4 * * MON-FRI").line == "15 30 4 * * mon-fri"


@pytest.mark.parametrize(
    ("text", "coming"),
    [
        ("30 4 * * mon", ["2026-01-05T04:30:00+00:00", "2026-01-12T04:30:00+00:00"]),
        ("0 */12 * * *", ["2026-01-01T12:00:00+00:00", "2026-01-02T00:00:00+00:00"]),
        ("0 0 29 2 *", ["2028-02-29T00:00:00+00:00"]),
        # With day of month and weekday both set, either is enough.
        ("0 0 3 * sun", ["2026-01-03T00:00:00+00:00", "2026-01-04T00:00:00+00:00"]),
        (
            "5,10 10 0 1 jan/6 ?",
            ["2026-01-01T00:10:05+00:00", "2026-01-01T00:10:10+00:00", "2026-07-01T00:10:05+00:00"],
        ),
    ],
)
def test_a_schedule_fires_when_its_line_says(text: str, coming: list[str]) -> None:
    assert first(text, "2026-01-01T00:00:00", len(coming)) == coming


def test_an_hour_that_the_clock_skips_does_not_fire() -> None:
    found = first("30 2 * * *", "2026-03-28T12:00:00", 2, BERLIN)

    assert found == ["2026-03-30T02:30:00+02:00", "2026-03-31T02:30:00+02:00"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("4 * * *", "has 4 fields"),
        ("0 0 0 4 * * *", "has 7 fields"),
        ("@daily", "has 1 fields"),
        ("60 4 * * *", "the minute '60'"),
        ("0 24 * * *", "the hour '24'"),
        ("0 4 * * 7", "the day of week '7'"),
        ("0 4 * foo *", "the month 'foo'"),
        ("0 4 5-1 * *", "the day of month '5-1'"),
        ("*/0 4 * * *", "the minute '\\*/0'"),
        ("0 4 * * *;id", "the day of week '\\*;id'"),
        ("0 ٤ * * *", "the hour"),
        ("0 0 31 2 *", "never fires"),
    ],
)
def test_a_line_that_the_cluster_would_misread_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse(text)


def test_a_zone_must_be_known_and_the_one_that_the_cluster_reads() -> None:
    assert check_zone("Europe/Berlin", "Europe/Paris").key == "Europe/Berlin"  # one clock
    with pytest.raises(ConfigError, match="no time zone is called 'Europe/Berlim'"):
        check_zone("Europe/Berlim", "UTC")
    with pytest.raises(ConfigError, match="no time zone"):
        check_zone("../../etc/passwd", "UTC")
    with pytest.raises(ConfigError, match="CRON_SCHEDULE_TIMEZONE=Europe/London"):
        check_zone("Europe/London", "UTC")  # the same only in winter
