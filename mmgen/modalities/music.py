"""Music: ABC text <-> checked tunes <-> notes <-> a score to look at and a sound to listen to.

A tune is its ABC text (`mmgen.modalities.scores.abc` says which part of ABC), for a fiddle tune as for a chorale, whose
frames are chords. `read` is the only place where music of others is decoded: a tune that it gave is within the limits
and can be parsed, drawn and played.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmgen.errors import DataError
from mmgen.files import write_bytes
from mmgen.modalities.scores import abc as notation
from mmgen.modalities.scores import abc_parser
from mmgen.modalities.scores.abc import QUARTER, WHOLE, Bar, Note, Pitch, Score

if TYPE_CHECKING:
    from mmgen.modalities.image import Picture

ENDING = "abc"
RATE = 16_000
"""Samples a second of `sound`."""

MAX_BYTES = 64 * 2**10
MAX_LINES = 1000
MAX_NOTES = 5000
MAX_WHOLES = 500
"""Longest tune in whole notes; about a quarter of an hour."""
MAX_SECONDS = 1200
"""Longest tune as it sounds: a slow tempo makes few notes long, and `sound` holds eight bytes a sample."""
_PITCHES = range(24, 109)
"""MIDI pitches that a tune may hold: C1 to C8."""

# Sound: strength of each harmonic of a plucked, bowed-like tone, and its envelope in seconds.
_HARMONICS = (1.0, 0.5, 0.28, 0.14, 0.08, 0.04)
_ATTACK, _RELEASE, _DECAY, _TAIL = 0.012, 0.05, 0.9, 0.3
_SECONDS = {"6/8": 1.5, "9/8": 1.5, "12/8": 1.5, "2/2": 1.3, "2/4": 2.4}
"""Seconds of a whole note where the tune does not say (`Q:1/4=90`): what dancers take for that metre."""


@dataclass(frozen=True)
class Tune:
    """A tune as ABC text.

    Raises:
        DataError: on `score` when the text is not in the subset of ABC that we read; `read` checks that before.
    """

    abc: str

    @cached_property
    def score(self) -> Score:
        """The notes and bar lines."""
        return abc_parser.parse(self.abc, self.abc.partition("\n")[0][:40])

    def header(self, letter: str) -> str:
        """A header field, such as `T` for the title, or an empty text."""
        return self.score.fields.get(letter, "")


def read(data: bytes, name: str) -> Tune:
    """Decode a tune from ABC.

    Args:
        data: the bytes of a file.
        name: what to call it in errors.

    Raises:
        DataError: too large, not UTF-8, control characters, a directive to a typesetter, or not the ABC that we read.
    """
    if not 0 < len(data) <= MAX_BYTES:
        raise DataError(f"{name!r}: {len(data)} bytes of ABC; want 1 to {MAX_BYTES}")
    try:
        text = data.decode().replace("\r\n", "\n").strip("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{name!r}: byte {error.start} is not UTF-8; save the tune as UTF-8") from error
    for place, character in enumerate(text):
        if character != "\n" and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
            raise DataError(f"{name!r}: control character U+{ord(character):04X} at place {place}; remove it")
    lines = text.split("\n")
    if len(lines) > MAX_LINES:
        raise DataError(f"{name!r}: {len(lines)} lines; want at most {MAX_LINES}")
    for number, line in enumerate(lines, 1):
        # Programs that typeset ABC obey these; some of them can name files or hold PostScript.
        if line.startswith(("%", "I:")):
            raise DataError(f"{name!r}: line {number} is a comment or directive, {line[:20]!r}; remove it")
    tune = Tune(text)
    score = abc_parser.parse(text, name)
    notes = [event for event in score.events if isinstance(event, Note)]
    if not any(note.pitches for note in notes) or len(notes) > MAX_NOTES:
        raise DataError(f"{name!r}: {len(notes)} notes and rests; want 1 to {MAX_NOTES}, with one that sounds")
    if sum(note.length for note in notes) > MAX_WHOLES * WHOLE:
        raise DataError(f"{name!r}: longer than {MAX_WHOLES} whole notes; cut it")
    if (seconds := sum(note.length for note in notes) / WHOLE * _whole_seconds(score)) > MAX_SECONDS:
        raise DataError(f"{name!r}: {seconds:.0f} seconds at its tempo; want at most {MAX_SECONDS}")
    if wrong := next((note.pitch for note in score.sounding() if note.pitch not in _PITCHES), None):
        raise DataError(f"{name!r}: MIDI pitch {wrong}; want {_PITCHES[0]} to {_PITCHES[-1]}")
    return tune


def encode(tune: Tune) -> bytes:
    """The bytes of an ABC file."""
    return (tune.abc.strip("\n") + "\n").encode()


def write(tune: Tune, path: Path) -> None:
    """Write a tune whole or not at all.

    Raises:
        StorageError: the disk is full or the folder is not writable.
    """
    write_bytes(path, encode(tune))


def picture(tune: Tune) -> Picture:
    """A staff with notes; a piano roll where most of the tune is chords."""
    from mmgen.modalities.scores.staff import draw

    return draw(tune.score)


def sound(tune: Tune) -> NDArray[np.float32]:
    """The tune as a sound, (N,) float32 at 16 kHz, in [-1, 1]: harmonics with a soft attack and a slow decay."""
    tick = _whole_seconds(tune.score) / WHOLE
    notes = tune.score.sounding()
    end = max((note.start + note.length for note in notes), default=0) * tick
    mixed = np.zeros(int((end + _TAIL) * RATE), dtype=np.float64)
    for note in notes:
        start = int(note.start * tick * RATE)
        tone = _tone(note.pitch, note.length * tick)
        mixed[start : start + len(tone)] += tone[: len(mixed) - start]
    loudest = float(np.abs(mixed).max(initial=0.0))
    return (mixed * (0.8 / loudest if loudest else 1.0)).astype(np.float32)


def frames(tune: Tune) -> list[tuple[int, ...]]:
    """MIDI pitches that sound at each quarter note, the highest first."""
    notes = tune.score.sounding()
    end = sum(event.length for event in tune.score.events if isinstance(event, Note))
    found: list[set[int]] = [set() for _ in range(end // QUARTER)]
    for note in notes:
        first = -(-note.start // QUARTER)
        for place in range(first, len(found)):
            if place * QUARTER >= note.start + note.length:
                break
            found[place].add(note.pitch)
    return [tuple(sorted(frame, reverse=True)) for frame in found]


def from_frames(
    frames: Sequence[Sequence[int]], *, title: str, key: str | None = None, metre: str = "4/4", upbeat: int = 0
) -> Tune:
    """A tune of chords, a quarter note each: the inverse of `frames`.

    Args:
        frames: MIDI pitches of each quarter note; an empty one is a rest.
        title: field `T`.
        key: signature to write it in; by default the major key that needs the fewest accidentals.
        metre: such as 3/4.
        upbeat: quarter notes before the first whole bar.
    """
    key = key or _fitting_key(frames)
    per_bar = notation.bar_length(metre) // QUARTER
    events: list[Note | Bar] = []
    altered: dict[int, int] = {}
    for number, frame in enumerate(frames):
        if number and (number - upbeat) % per_bar == 0:
            events.append(Bar("|"))
            altered = {}
        # From the lowest up, as chords are written.
        pitches = tuple(_spelled(pitch, key, altered) for pitch in sorted(set(frame)))
        events.append(Note(pitches, QUARTER))
    events.append(Bar("|]"))
    body = notation.body(events, QUARTER, metre)
    return Tune(f"X:1\nT:{title}\nM:{metre}\nL:1/4\nQ:1/4=80\nK:{key}\n{body}")


def _spelled(number: int, key: str, altered: dict[int, int]) -> Pitch:
    """A MIDI pitch on the staff; `altered` holds the accidentals of the bar so far and is brought up to date."""
    signature = notation.signature(key)
    octave, semitone = divmod(number - 60, 12)
    choices = []
    for letter, natural in enumerate(notation.SEMITONES):
        alteration = (semitone - natural + 6) % 12 - 6
        if abs(alteration) <= 1:
            step = letter + 7 * (octave + (semitone - natural - alteration) // 12)
            flat = sum(signature) < 0
            choices.append((alteration != signature[letter], (alteration < 0) != flat, step, alteration))
    _, _, step, alteration = min(choices)
    before = altered.get(step, signature[step % 7])
    altered[step] = alteration
    sign = next(sign for sign, value in notation.ACCIDENTALS.items() if value == alteration)
    return Pitch(step, "" if alteration == before else sign)


def _fitting_key(frames: Sequence[Sequence[int]]) -> str:
    counts = np.bincount([pitch % 12 for frame in frames for pitch in frame], minlength=12)

    def outside(key: str) -> int:
        inside = {(s + a) % 12 for s, a in zip(notation.SEMITONES, notation.signature(key), strict=True)}
        return int(sum(count for semitone, count in enumerate(counts) if semitone not in inside))

    return min(("C", "G", "F", "D", "Bb", "A", "Eb", "E", "Ab", "B", "Db", "F#"), key=outside)


def _whole_seconds(score: Score) -> float:
    """Seconds of a whole note."""
    length, _, beats = score.fields.get("Q", "").partition("=")
    if length == "1/4" and beats.isdigit() and 20 <= int(beats) <= 400:
        return 4 * 60 / int(beats)
    return _SECONDS.get(score.metre, 2.0)


def _tone(pitch: int, seconds: float) -> NDArray[np.float64]:
    """One note: harmonics below half the rate, an attack, a decay, and a release after its end."""
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    t = np.arange(int((seconds + _RELEASE) * RATE)) / RATE
    wave = np.zeros_like(t)
    for number, strength in enumerate(_HARMONICS, 1):
        if number * frequency < RATE / 2:
            wave += strength * np.sin(2 * np.pi * number * frequency * t) * np.exp(-t * number * 0.5)
    envelope = np.minimum(t / _ATTACK, 1) * np.exp(-t / _DECAY) * np.clip((seconds + _RELEASE - t) / _RELEASE, 0, 1)
    tone: NDArray[np.float64] = wave * envelope
    return tone
