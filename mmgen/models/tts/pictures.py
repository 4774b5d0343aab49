"""What the alignment of a spoken text looks like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmgen.modalities.image import Picture

_ROW, _LEFT, _WIDEST = 11, 14, 640
"""Pixels of a letter's row, of the letters at the left, and of the widest picture."""
_COLOURS = ((38, 70, 132), (200, 92, 40))
"""They change at every cut from one place of the training clips to another."""
_PAPER, _INK, _PREDICTED = (255, 255, 255), (40, 40, 40), (140, 140, 140)


def alignment_picture(symbols: str, duration_S: NDArray[np.int64], piece_S: NDArray[np.int64]) -> Picture:
    """Letters downwards, time to the right: when each letter sounds.

    Args:
        symbols: of the text.
        duration_S: frames of each.
        piece_S: which piece of the training clips each begins in; may be empty.
    """
    from PIL import Image, ImageDraw

    ends = np.cumsum(duration_S)
    scale = min(2.0, (_WIDEST - _LEFT) / float(ends[-1]))
    sheet = Image.new("RGB", (_LEFT + int(np.ceil(ends[-1] * scale)), _ROW * len(symbols)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for row, (symbol, end, last) in enumerate(zip(symbols, ends, duration_S, strict=True)):
        left, right = _LEFT + round((end - last) * scale), _LEFT + round(end * scale) - 1
        fill = _COLOURS[piece_S[row] % 2] if len(piece_S) else _PREDICTED
        pen.rectangle((left, row * _ROW, max(left, right), (row + 1) * _ROW - 1), fill=fill)
        pen.text((3, row * _ROW - 1), symbol, fill=_INK)
    return np.asarray(sheet, np.uint8)
