"""A tune as a picture: staffs with clef, signature, note heads, stems, accidentals and bar lines; chords included.

Drawn with Pillow's lines and ellipses, for looking rather than for playing from: beams, ties and tuplet signs are left
out, a note's value shows in its head, stem, flags and dots.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from mmgen.modalities.image import WHITE, Picture
from mmgen.modalities.lettering import font
from mmgen.modalities.scores.abc import QUARTER, TUPLETS, WHOLE, Bar, Note, Score, signature

WIDTH, ROWS = 760, 6
"""Pixels of a line, and lines that are drawn; a longer tune ends in dots."""
_GAP = 7
"""Pixels between two lines of a staff."""
_INK, _PALE = (31, 41, 51), (150, 158, 168)
_LEFT, _TOP = 58, 34
_BOTTOM_STEP, _MIDDLE_STEP = 2, 6
"""Steps (C4 = 0) of the lowest and the middle line under a treble clef."""
_SIGNS = {"^": "♯", "^^": "♯♯", "_": "♭", "__": "♭♭", "=": "♮"}
_SHARPS, _FLATS = (10, 7, 11, 8, 5, 9, 6), (6, 9, 5, 8, 4, 7, 3)
"""Steps where the signs of a signature stand."""


def draw(score: Score) -> Picture:
    """The score, (H, WIDTH, 3) uint8, title above."""
    rows = _rows(score)
    low = min(
        (pitch.step for row in rows for event in row if isinstance(event, Note) for pitch in event.pitches), default=2
    )
    below = max(0, _BOTTOM_STEP - low) * _GAP // 2
    high = 4 * _GAP + 58 + below
    page = Image.new("RGB", (WIDTH, _TOP + len(rows) * high + 8), WHITE)
    ink = ImageDraw.Draw(page)
    title = score.fields.get("T", "")
    ink.text((WIDTH / 2 - ink.textlength(title, font=font(15)) / 2, 6), title, fill=_INK, font=font(15))
    for number, row in enumerate(rows):
        _row(ink, row, score, _TOP + 22 + number * high, first=number == 0)
    return np.asarray(page)


def _width(event: Note | Bar) -> int:
    if isinstance(event, Bar):
        return 14
    return 12 + int(9 * (event.length / QUARTER) ** 0.5) + 8 * any(pitch.accidental for pitch in event.pitches)


def _rows(score: Score) -> list[list[Note | Bar]]:
    """Events by line; lines break behind bar lines."""
    rows: list[list[Note | Bar]] = [[]]
    bar: list[Note | Bar] = []
    room = WIDTH - _LEFT - 16 - 8 * sum(map(abs, signature(score.key)))
    for event in score.events:
        bar.append(event)
        if isinstance(event, Bar):
            if rows[-1] and sum(map(_width, rows[-1] + bar)) > room:
                rows.append([])
            rows[-1] += bar
            bar = []
    rows[-1] += bar
    return rows[:ROWS]


def _row(ink: ImageDraw.ImageDraw, row: list[Note | Bar], score: Score, top: int, *, first: bool) -> None:
    for line in range(5):
        ink.line((10, top + line * _GAP, WIDTH - 10, top + line * _GAP), fill=_PALE)
    _clef(ink, top)
    x = 40
    alterations = signature(score.key)
    sharps, flats = (sum(value == sign for value in alterations) for sign in (1, -1))
    for step in [*_SHARPS[:sharps], *_FLATS[:flats]]:
        _sign(ink, x, _y(top, step), "^" if sharps else "_")
        x += 8
    if first:
        for place, number in enumerate(score.metre.split("/")):
            ink.text((x + 4, top + place * 2 * _GAP - 3), number, fill=_INK, font=font(16))
        x += 22
    x += 8
    natural = sum(map(_width, row))
    stretch = min(1.6, (WIDTH - 18 - x) / max(1, natural))
    for event in row:
        if isinstance(event, Bar):
            _bar(ink, event, x, top)
        else:
            _note(ink, event, x, top)
        x += int(_width(event) * stretch)


def _clef(ink: ImageDraw.ImageDraw, top: int) -> None:
    """A treble clef, roughly: a stem, a curl around the line of G."""
    middle = top + 3 * _GAP
    ink.line((22, top - 8, 24, top + 5 * _GAP + 4), fill=_INK, width=2)
    ink.arc((14, middle - 9, 32, middle + 9), 0, 360, fill=_INK, width=2)
    ink.arc((18, top - 12, 30, top + 8), 180, 60, fill=_INK, width=2)
    ink.ellipse((19, top + 5 * _GAP + 2, 25, top + 5 * _GAP + 8), fill=_INK)


def _y(top: int, step: int) -> float:
    return top + 4 * _GAP - (step - _BOTTOM_STEP) * _GAP / 2


def _sign(ink: ImageDraw.ImageDraw, x: float, y: float, accidental: str) -> None:
    """Sharp, flat or natural as lines, of the size of the staff."""
    if accidental.startswith("^"):
        for shift in (0, 3):
            ink.line((x + shift, y - 6, x + shift, y + 6), fill=_INK)
        for shift in (-2, 2):
            ink.line((x - 2, y + shift + 1, x + 5, y + shift - 1), fill=_INK, width=2)
    elif accidental.startswith("_"):
        ink.line((x, y - 9, x, y + 4), fill=_INK)
        ink.arc((x - 3, y - 2, x + 5, y + 5), 250, 100, fill=_INK, width=2)
    elif accidental == "=":
        ink.line((x, y - 7, x, y + 4), fill=_INK)
        ink.line((x + 4, y - 4, x + 4, y + 7), fill=_INK)
        for shift in (-3, 3):
            ink.line((x, y + shift + 1, x + 4, y + shift - 1), fill=_INK, width=2)


def _note(ink: ImageDraw.ImageDraw, note: Note, x: float, top: int) -> None:
    # In a tuplet a note is written longer than it sounds.
    factor = note.tuplet / TUPLETS[note.tuplet] if note.tuplet else 1
    value = note.length * factor / WHOLE
    if not note.pitches:
        middle = top + 2 * _GAP
        ink.line((x + 2, middle - 6, x + 7, middle, x + 2, middle + 2, x + 7, middle + 8), fill=_INK, width=2)
        return
    steps = sorted(pitch.step for pitch in note.pitches)
    if any(pitch.accidental for pitch in note.pitches):
        x += 8
    for pitch in note.pitches:
        y = _y(top, pitch.step)
        _sign(ink, x - 8, y, pitch.accidental)
        for ledger in (*range(0, pitch.step - 1, -2), *range(12, pitch.step + 1, 2)):
            ink.line((x - 3, _y(top, ledger), x + 11, _y(top, ledger)), fill=_PALE)
        ink.ellipse((x, y - 3, x + 8, y + 3), fill=_INK if value < 0.5 else None, outline=_INK, width=2)
    if value < 1:
        up = sum(steps) / len(steps) < _MIDDLE_STEP
        side = x + 8 if up else x
        tip = _y(top, steps[-1]) - 21 if up else _y(top, steps[0]) + 21
        ink.line((side, _y(top, steps[0] if up else steps[-1]), side, tip), fill=_INK)
        flags = max(0, int(np.ceil(-np.log2(value) - 2 - 1e-9))) if value < 0.25 else 0
        for flag in range(flags):
            start = tip + flag * 5 * (1 if up else -1)
            ink.line((side, start, side + 6, start + (6 if up else -6)), fill=_INK, width=2)
    whole_values = {2.0**-power * share for power in range(6) for share in (0.75, 1.5)}
    if value in whole_values:
        y = _y(top, steps[-1])
        ink.ellipse((x + 11, y - 4, x + 13, y - 2), fill=_INK)


def _bar(ink: ImageDraw.ImageDraw, bar: Bar, x: float, top: int) -> None:
    bottom = top + 4 * _GAP
    ink.line((x + 4, top, x + 4, bottom), fill=_INK)
    if bar.line != "|":
        ink.line((x + 7, top, x + 7, bottom), fill=_INK, width=3 if bar.line != "||" else 1)
    for dots, left in ((bar.line in (":|", "::"), x), (bar.line in ("|:", "::"), x + 11)):
        for y in (top + 1.5 * _GAP, top + 2.5 * _GAP) if dots else ():
            ink.ellipse((left - 1, y - 1, left + 1, y + 1), fill=_INK)
    if bar.ending:
        ink.line((x + 6, top - 6, x + 6, top - 14, x + 40, top - 14), fill=_PALE)
        ink.text((x + 9, top - 14), bar.ending, fill=_INK, font=font(11))
