"""ABC text -> notes and bar lines: the parser of the subset that `mmgen.modalities.scores.abc` describes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from mmgen.errors import DataError
from mmgen.modalities.scores.abc import KEY, LETTERS, TUPLETS, WHOLE, Bar, Note, Pitch, Score, bar_length

_FIELD = re.compile(r"([A-Za-z]):\s*(.*)")
_METRE = re.compile(r"([1-9][0-9]?)/([1248]|16)")
_PITCH = r"(?:\^\^|\^|__|_|=)?[A-Ga-g][,']{0,3}"
_LENGTH = r"(?:\d{1,2})?(?:/\d{1,2}|/{1,3})?"
_TOKEN = re.compile(
    rf"(?P<space>\s+)|(?P<tuplet>\([2-9])|\[(?P<ending>[12])(?!\w)|(?P<chord>\[(?:{_PITCH}{_LENGTH})+\])"
    rf"|(?P<bar>::|:\|:|\|:|:\||\|\||\|\]|\|)(?P<number>[12](?!\w))?"
    rf"|(?P<note>{_PITCH}|z)|(?P<length>\d{{1,2}}(?:/\d{{1,2}}|/{{1,3}})?|/\d{{1,2}}|/{{1,3}})"
    rf"|(?P<broken>>{{1,2}}|<{{1,2}})|(?P<tie>-)"
)
_HEAD = re.compile(rf"(\^\^|\^|__|_|=|)([A-Ga-g])([,']{{0,3}})({_LENGTH})")


def parse(text: str, name: str) -> Score:
    """Read a tune.

    Args:
        text: ABC; `M:`, `L:` and `K:` are needed, and only header fields may stand before the body.
        name: what to call it in errors.

    Raises:
        DataError: something outside of the subset; the message says what and in which line.
    """
    fields: dict[str, str] = {}
    lines = text.split("\n")
    body = next((row for row, line in enumerate(lines) if line.strip() and not _FIELD.fullmatch(line)), len(lines))
    for line in lines[:body]:
        if match := _FIELD.fullmatch(line):
            fields.setdefault(match[1], match[2].strip())
    for letter in "MLK":
        if letter not in fields:
            raise DataError(f"{name!r} has no field {letter}:; add it to the header")
    metre, unit = (_METRE.fullmatch(fields[letter]) for letter in "ML")
    if metre is None or unit is None:
        raise DataError(f"{name!r}: M:{fields['M']} and L:{fields['L']}; want fractions such as 6/8 and 1/8")
    if KEY.fullmatch(fields["K"]) is None:
        raise DataError(f"{name!r}: K:{fields['K']}; want a key such as D, F#m, Bb or Ador")
    ticks = bar_length(unit[0])
    events = tuple(_events(lines[body:], ticks, name, body + 1))
    return Score(fields, metre[0], ticks, fields["K"], events)


class _Reader:
    """Notes and bar lines of a body; a note is given out when nothing that follows can change it."""

    def __init__(self, unit: int, where: str) -> None:
        self.unit, self.where = unit, where
        self.waiting: Note | None = None
        self.lengthened = False
        self.broken = self.tuplet = self.left = 0

    def take(self, match: re.Match[str]) -> Iterator[Note | Bar]:
        """What a token ends."""
        if match["note"] or match["chord"]:
            before = self.broken
            yield from self.end()
            factor = _share(-before)
            if self.left:
                factor = (factor[0] * TUPLETS[self.tuplet], factor[1] * self.tuplet)
            length = self.scaled(self.unit, factor)
            self.waiting = _note(match["note"] or match["chord"], length, self.tuplet if self.left else 0, self)
            self.left = max(0, self.left - 1)
        elif match["tuplet"]:
            self.tuplet = self.left = int(match["tuplet"][1])
            if self.tuplet not in TUPLETS:
                raise DataError(f"{self.where}: a tuplet of {self.tuplet}; want one of {list(TUPLETS)}")
        elif match["bar"] or match["ending"]:
            yield from self.end()
            self.left = 0
            line = {":|:": "::", None: "|"}.get(match["bar"], match["bar"])
            yield Bar(line, match["number"] or match["ending"] or "")
        elif self.waiting is None:
            raise DataError(f"{self.where}: {match[0]!r} without a note before it")
        elif match["length"]:
            if self.lengthened:
                raise DataError(f"{self.where}: {match[0]!r} behind another length")
            length = self.scaled(self.waiting.length, _fraction(match["length"]))
            self.waiting, self.lengthened = replace(self.waiting, length=length), True
        elif match["tie"]:
            self.waiting = replace(self.waiting, tied=True)
        else:
            self.broken = len(match["broken"]) * (1 if match["broken"][0] == ">" else -1)
            self.waiting = replace(self.waiting, length=self.scaled(self.waiting.length, _share(self.broken)))

    def end(self) -> Iterator[Note]:
        """The note that was being read."""
        if self.waiting is not None:
            yield self.waiting
        self.waiting, self.lengthened, self.broken = None, False, 0

    def scaled(self, length: int, factor: tuple[int, int]) -> int:
        """A length times a fraction."""
        scaled, rest = divmod(length * factor[0], factor[1])
        if rest or not scaled:
            raise DataError(f"{self.where}: a note of {length}/{WHOLE} times {factor[0]}/{factor[1]} is too short")
        return scaled


def _events(lines: list[str], unit: int, name: str, first: int) -> Iterator[Note | Bar]:
    reader = _Reader(unit, name)
    for number, line in enumerate(lines, first):
        reader.where = f"{name!r}: line {number}"
        place = 0
        while place < len(line):
            match = _TOKEN.match(line, place)
            if match is None:
                raise DataError(f"{reader.where}: {line[place : place + 12]!r} is not ABC that we read; remove it")
            place = match.end()
            if not match["space"]:
                yield from reader.take(match)
    yield from reader.end()


def _note(text: str, length: int, tuplet: int, reader: _Reader) -> Note:
    pitches = []
    for match in _HEAD.finditer(text):
        step = LETTERS.index(match[2].upper()) + 7 * match[2].islower()
        pitches.append(Pitch(step + 7 * (match[3].count("'") - match[3].count(",")), match[1]))
        if match[4] and len(pitches) == 1:  # the first note of a chord says how long it is
            length = reader.scaled(length, _fraction(match[4]))
    return Note(tuple(pitches), length, tuplet)


def _fraction(text: str) -> tuple[int, int]:
    above, slash, below = text.partition("/")
    if not slash:
        return int(above), 1
    return int(above or 1), (int(below) or 1) if below.isdigit() else 2 ** (1 + len(below))


def _share(broken: int) -> tuple[int, int]:
    """What broken rhythm makes of a length: > is 3/2 here and 1/2 behind, >> is 7/4 and 1/4."""
    below = 2 ** abs(broken)
    return (2 * below - 1 if broken > 0 else 1, below)
