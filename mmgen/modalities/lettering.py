"""The font of sheets and plots.

Pillow's own has no accents. DejaVu Sans, which comes with matplotlib, writes Latin, Greek, Cyrillic and Arabic letters;
Chinese, Japanese and Korean ones show as boxes in pictures (pages use the reader's fonts).
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

from PIL import ImageFont


@cache
def font(size: float) -> ImageFont.FreeTypeFont:
    """DejaVu Sans with letters of `size` pixels. matplotlib itself is not imported: that would take a second."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("matplotlib, which has the font of sheets, is not installed; run: make setup")
    return ImageFont.truetype(str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
