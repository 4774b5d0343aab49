"""One thing of any modality: which one it is, what it looks like, which bytes keep it.

picture  (H, W, 3) uint8            video  (T, H, W, 3) uint8
sound    (N,) float32, 16 kHz       music  `mmgen.modalities.music.Tune`
text     str
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np

from mmgen.errors import unknown
from mmgen.modalities import NAMES
from mmgen.modalities.image import Picture


def kind(value: Any) -> str:
    """Name of the modality that a value is of."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, np.ndarray):
        found = {(np.dtype(np.uint8), 3): "image", (np.dtype(np.uint8), 4): "video", (np.dtype(np.float32), 1): "sound"}
        name = found.get((value.dtype, value.ndim))
        if name is None:
            raise TypeError(f"an array of {value.dtype} with {value.ndim} axes is of no modality")
        return name
    return "music"


def module(name: str) -> ModuleType:
    """The module of a modality: `read`, `encode`, `picture`, `ENDING` and so on."""
    if name not in NAMES:
        raise ValueError(unknown("modality", name, NAMES))
    return importlib.import_module(f"mmgen.modalities.{name}")


def endings(name: str) -> tuple[str, ...]:
    """Endings, without dot, that parts of a modality may have in a data set, the usual one first."""
    of = module(name)
    found: tuple[str, ...] = getattr(of, "ENDINGS", (of.ENDING,))
    return found


def picture(value: Any) -> Picture:
    """What a person looks at: the picture itself, a film strip, a spectrogram, a score."""
    found: Picture = module(kind(value)).picture(value)
    return found


def encode(value: Any) -> tuple[str, bytes]:
    """Ending and bytes of the file that keeps a value."""
    of = module(kind(value))
    return of.ENDING, of.encode(value)
