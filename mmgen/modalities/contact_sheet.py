"""Pictures and texts laid out for a person: side by side, or as a sheet of tiles with captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from mmgen.modalities.image import WHITE, Picture
from mmgen.modalities.lettering import font

# The look of a contact sheet, in pixels.
_TILE, _GAP, _FONT, _LINE, _LINES = 128, 24, 11, 16, 3
_FEW = 4
"""Tiles that are shown as large as they are."""
_PAGE = 8 * (_TILE + _GAP)
_WIDEST = 12
"""Largest width of a tile in heights."""
_FRAME, _INK = (226, 229, 233), (70, 76, 84)


def beside(arrays: Sequence[Picture]) -> Picture:
    """Pictures side by side with white gaps, all brought to the height of the tallest."""
    tall = max(array.shape[0] for array in arrays)
    gap = np.full((tall, max(2, tall // 16), 3), 255, np.uint8)
    row: list[Picture] = []
    for array in arrays:
        if array.shape[0] != tall:
            size = (round(array.shape[1] * tall / array.shape[0]), tall)
            array = np.asarray(Image.fromarray(array).resize(size, Image.Resampling.NEAREST))
        row += [gap, array] if row else [array]
    return np.concatenate(row, axis=1)


def lettered(lines: Sequence[str]) -> Picture:
    """A white tile with lines of text, for things that cannot be looked at otherwise."""
    tile = Image.new("RGB", (2 * _TILE, 2 * _TILE), WHITE)
    draw, letters = ImageDraw.Draw(tile), font(2 * _FONT)
    wrapped = [part for line in lines for part in wrap(line, 2 * _TILE - 16, letters)]
    top = _TILE - len(wrapped) * _LINE
    for number, line in enumerate(wrapped):
        middle = _TILE - draw.textlength(line, font=letters) / 2
        draw.text((middle, top + 2 * number * _LINE), line, fill=_INK, font=letters)
    return np.asarray(tile)


def show(arrays: Sequence[Picture | None], captions: Sequence[str], columns: int = 8) -> Picture:
    """A contact sheet: each picture in a thin frame on white, its caption below in at most three lines.

    Args:
        arrays: pictures of any sizes; tiles are as wide as the widest of them asks for, and each is fitted into one.
            None leaves a place empty.
        captions: one for each picture; may be empty strings.
        columns: tiles in a row; fewer when there are fewer pictures, or when tiles are wide.

    Returns:
        One picture; `encode` turns it into a PNG.
    """
    shown = [array for array in arrays if array is not None]
    if len(arrays) != len(captions) or not shown:
        raise ValueError(f"{len(arrays)} pictures and {len(captions)} captions; want as many of each, at least one")
    aspect = min(max(1.0, *(array.shape[1] / array.shape[0] for array in shown)), _WIDEST)
    high = _TILE if aspect < 1.5 else _TILE * 3 // 4
    if len(arrays) <= _FEW:  # room enough to show them as large as they are
        high = min(max(high, *(array.shape[0] for array in shown)), 3 * _TILE)
    wide = min(round(high * aspect), _PAGE - _GAP)
    columns = min(columns, len(arrays), max(1, (_PAGE + _GAP) // (wide + _GAP)))
    rows = -(-len(arrays) // columns)
    text_height = _LINES * _LINE + 8 if any(captions) else 0
    across, down = wide + _GAP, high + text_height + _GAP
    sheet = Image.new("RGB", (columns * across + _GAP, rows * down + _GAP), WHITE)
    draw = ImageDraw.Draw(sheet)
    letters = font(_FONT)
    for place, (array, caption) in enumerate(zip(arrays, captions, strict=True)):
        if array is None:
            continue
        left, top = _GAP + place % columns * across, _GAP + place // columns * down
        draw.rounded_rectangle((left - 5, top - 5, left + wide + 4, top + high + 4), 6, outline=_FRAME)
        fitted = ImageOps.pad(Image.fromarray(array), (wide, high), Image.Resampling.LANCZOS, color=WHITE)
        sheet.paste(fitted, (left, top))
        for number, line in enumerate(wrap(caption, wide + _GAP - 6, letters)):
            middle = left + wide / 2 - draw.textlength(line, font=letters) / 2
            draw.text((middle, top + high + 8 + number * _LINE), line, fill=_INK, font=letters)
    return np.asarray(sheet)


def wrap(text: str, width: int, letters: Any) -> list[str]:
    """Cut `text` at spaces into at most three lines of `width` pixels; what does not fit ends in an ellipsis."""
    lines: list[str] = []
    words = text.split()
    while words:
        last = len(lines) == _LINES - 1
        count = len(words)
        if not last:
            count = next((n for n in range(len(words), 1, -1) if letters.getlength(" ".join(words[:n])) <= width), 1)
        line = " ".join(words[:count])
        whole = line
        while letters.getlength(line) > width and len(whole) > 1:  # a long last line, or one word wider than a line
            whole = whole[:-1].rstrip(" ,")
            line = whole + "…"
        lines.append(line)
        words = words[count:]
    return lines
