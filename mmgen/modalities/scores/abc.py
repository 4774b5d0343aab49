"""ABC notation: the subset that our tunes are written in, as a list of notes and bar lines.

ABC (abcnotation.com, standard 2.1) writes a tune as header fields (`K:D`) and a body of letters (`d2 ef|`). Part of it:
notes with accidentals and octaves, rests, chords, lengths, broken rhythm (`A>B`), tuplets, ties, bar lines, repeats
and numbered endings. Slurs, ornaments, grace notes, words and directives to a typesetter are not.
`mmgen.modalities.scores.abc_parser` reads it.

A pitch is a `step`, the place on the staff counted from middle C (C = 0, D = 1, c = 7), and what is written before it.
Lengths and times are whole numbers of ticks, `WHOLE` to a whole note, so that sums are exact.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

WHOLE = 1536
"""Ticks of a whole note: triplets of sixty-fourths are whole numbers of ticks."""
QUARTER = WHOLE // 4
LETTERS = "CDEFGAB"
SEMITONES = (0, 2, 4, 5, 7, 9, 11)
MODES = {"": 0, "m": -3, "dor": -2, "phr": -4, "lyd": 1, "mix": -1}
"""Mode as ABC writes it -> sharps that its signature has more than that of the major key on the same tonic."""
ACCIDENTALS = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}
BARS = ("|", "||", "|]", "|:", ":|", "::")
ENDINGS = ("1", "2")

TUPLETS = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}
"""(3 means three notes in the time of two, and so on; 5, 7 and 9 depend on the metre and are refused."""
KEY = re.compile(r"([A-G])([#b]?)(m|dor|phr|lyd|mix)?")
"""A key: tonic, sign, mode."""


@dataclass(frozen=True, slots=True)
class Pitch:
    """A note head: place on the staff and the accidental written before it, "" for none."""

    step: int
    accidental: str = ""

    def __str__(self) -> str:
        octave, letter = divmod(self.step, 7)
        name = LETTERS[letter] if octave <= 0 else LETTERS[letter].lower()
        return self.accidental + name + ("," * -octave if octave < 0 else "'" * (octave - 1))


@dataclass(frozen=True, slots=True)
class Note:
    """A note, a chord, or a rest, which has no pitches."""

    pitches: tuple[Pitch, ...]
    length: int
    """In ticks, as it sounds."""
    tuplet: int = 0
    """3 on each note of a triplet and so on; 0 outside of one."""
    tied: bool = False
    """Goes on into the next note."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar line, one of `BARS`, with the number of the ending that starts behind it, "" for none."""

    line: str
    ending: str = ""


@dataclass(frozen=True, slots=True)
class Sounding:
    """A note as it sounds: MIDI pitch, start and length in ticks."""

    pitch: int
    start: int
    length: int


@dataclass(frozen=True)
class Score:
    """A tune that was read."""

    fields: dict[str, str]
    """Header by letter; of a field that comes twice, the first."""
    metre: str
    """Such as 6/8."""
    unit: int
    """Ticks of a letter without a number."""
    key: str
    events: tuple[Note | Bar, ...]

    @property
    def bar(self) -> int:
        """Ticks of a whole bar."""
        return bar_length(self.metre)

    def bars(self) -> Iterator[tuple[int, bool]]:
        """Ticks of each stretch between two bar lines, and whether it must fill the metre.

        Where a part begins or ends (at repeats, double bars, endings, and the ends of the tune) an upbeat and the
        bar that it completes may both be shorter.
        """
        length, inner = 0, False
        for event in self.events:
            if isinstance(event, Note):
                length += event.length
                continue
            plain = event == Bar("|")
            if length:
                yield length, inner and plain
            length, inner = 0, plain
        if length:
            yield length, False

    def sounding(self) -> list[Sounding]:
        """Every note with its time; repeats are played once, tied notes are one."""
        found: list[Sounding] = []
        held: dict[int, int] = {}
        start, altered = 0, dict[int, int]()
        for event in self.events:
            if isinstance(event, Bar):
                altered = {}
                continue
            going_on: dict[int, int] = {}
            for pitch in event.pitches:
                if pitch.accidental:
                    altered[pitch.step] = ACCIDENTALS[pitch.accidental]
                alteration = altered.get(pitch.step, signature(self.key)[pitch.step % 7])
                number = 60 + 12 * (pitch.step // 7) + SEMITONES[pitch.step % 7] + alteration
                if number in held:
                    place = held[number]
                    found[place] = replace(found[place], length=found[place].length + event.length)
                else:
                    place = len(found)
                    found.append(Sounding(number, start, event.length))
                if event.tied:
                    going_on[number] = place
            held = going_on
            start += event.length
        return found


def bar_length(metre: str) -> int:
    """Ticks of a bar of 6/8 and so on."""
    above, below = metre.split("/")
    return WHOLE * int(above) // int(below)


def body(events: Iterable[Note | Bar], unit: int, metre: str) -> str:
    """The normal form of a body: groups of notes by the beat, a line break after every fourth bar.

    Args:
        events: notes of a tuplet stand together; lengths are those that sound.
        unit: ticks of the length that is written without a number.
        metre: such as 6/8; says what a beat is.

    >>> from mmgen.modalities.scores.abc_parser import parse
    >>> body(parse("M:6/8\\nL:1/8\\nK:D\\nA>BcdB A|d3-d2 A |", "a").events, 192, "6/8")
    'A>Bc dBA|d3- d2A|'
    """
    listed, text, line = list(events), "", ""
    time = bars = left = 0
    beat, whole = beat_length(metre, unit), bar_length(metre)
    sign = ""
    for place, event in enumerate(listed):
        if isinstance(event, Bar):
            line += event.line + event.ending + (" " if event.ending else "")
            bars += 2 * time > whole  # an upbeat does not count
            if bars == 4 or event.line == "::":
                text, line, bars = text + line.rstrip() + "\n", "", 0
            time = left = 0
            continue
        if time and time % beat == 0 and left == 0 and not sign:
            line += " "
        if event.tuplet and left == 0:
            line, left = line + f"({event.tuplet}", event.tuplet
        written = event.length * event.tuplet // TUPLETS[event.tuplet] if event.tuplet else event.length
        left = max(0, left - 1)
        time += event.length
        following = listed[place + 1] if place + 1 < len(listed) else None
        if sign:
            written, sign = unit, ""
        elif isinstance(following, Note) and not event.tuplet and not following.tuplet:
            sign = {(3 * unit, unit): ">", (unit, 3 * unit): "<"}.get((2 * written, 2 * following.length), "")
            written = unit if sign else written
        line += _head(event) + length_text(written, unit) + "-" * event.tied + sign
    return (text + line).rstrip()


def signature(key: str) -> tuple[int, ...]:
    """Alteration of each letter C to B in a key.

    >>> signature("D"), signature("Gm")
    ((1, 0, 0, 1, 0, 0, 0), (0, 0, -1, 0, 0, 0, -1))
    """
    sharps = _sharps(key)
    raised = [("FCGDAEB").index(letter) < sharps for letter in LETTERS]
    lowered = [("BEADGCF").index(letter) < -sharps for letter in LETTERS]
    return tuple(int(up) - int(down) for up, down in zip(raised, lowered, strict=True))


def tonic(key: str) -> int:
    """Step of a key's first note, 0 to 6."""
    return LETTERS.index(key[0])


def length_text(length: int, unit: int) -> str:
    """A length as ABC writes it, in units: "", "2", "3/2", "/2".

    >>> [length_text(length, 192) for length in (192, 384, 288, 96)]
    ['', '2', '3/2', '/2']
    """
    common = math.gcd(length, unit)
    above, below = length // common, unit // common
    number = "" if above == 1 else str(above)
    return number if below == 1 else f"{number}/{below}"


def _head(note: Note) -> str:
    heads = "".join(map(str, note.pitches))
    return f"[{heads}]" if len(note.pitches) > 1 else heads or "z"


def beat_length(metre: str, unit: int) -> int:
    """Ticks that notes are grouped by: a dotted quarter in 6/8, else a half note, or a quarter of short notes."""
    if metre in ("6/8", "9/8", "12/8"):
        return 3 * QUARTER // 2
    return 2 * QUARTER if 2 * unit == QUARTER and metre != "3/4" else QUARTER


def _sharps(key: str) -> int:
    match = KEY.fullmatch(key)
    if match is None:
        raise ValueError(f"{key!r} is not a key")
    return "FCGDAEB".index(match[1]) - 1 + 7 * {"#": 1, "": 0, "b": -1}[match[2]] + MODES[match[3] or ""]
