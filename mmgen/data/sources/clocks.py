"""The `clocks` data set: drawn clock faces, each with the part of the day in words; what is asked is the time.

The face tells the minutes of half a day, the words ("at night", "in the morning") which half: only both tell the time.
Faces differ in size, place, ring, marks and hands. They are drawn eight times as large and shrunk with whole numbers.
Splits are by time: no minute of the day in `test` is one of `train`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mmgen.data.shards import Sample
from mmgen.data.sources.digits import png

TITLE = "Clock faces with the part of the day"
PACKAGES: tuple[str, ...] = ()
LICENCES = (
    {
        "what": "pictures and captions",
        "licence": "Apache-2.0",
        "credit": "drawn by mmgen",
        "url": "https://www.apache.org/licenses/LICENSE-2.0",
    },
)
MODALITIES = ("image", "text")
LANGUAGES = ("en",)
SPLITS = ("train", "test")

SIZE, DAY = 40, 24 * 60
"""Pixels of a picture, minutes of a day."""
PARTS = ("at night", "in the morning", "in the afternoon", "in the evening")
"""Of six hours each, from midnight on."""
_LARGE = 8
_COUNT = {"train": 4000, "test": 500}


def samples(files: dict[str, Path]) -> Iterator[tuple[str, Sample]]:
    """Yield (split, sample); nothing is fetched for them."""
    for split in SPLITS:
        made = number = 0
        while made < _COUNT[split]:
            key = f"{split}-{number:05d}"
            number += 1
            draw = np.random.default_rng(list(hashlib.sha256(f"clocks:{key}".encode()).digest()))
            minutes = int(draw.integers(DAY))
            if (hashlib.sha256(f"clocks:{minutes}".encode()).digest()[0] < 32) != (split == "test"):
                continue
            made += 1
            part = PARTS[minutes * len(PARTS) // DAY]
            facts = {
                "captions": {"en": part},
                "concept": f"{minutes // 60:02d}:{minutes % 60:02d}",
                "group": part,
                "minutes": minutes,
            }
            parts = {
                "png": png(face(minutes, draw), SIZE, SIZE),
                "txt": part.encode(),
                "json": json.dumps(facts, sort_keys=True).encode(),
            }
            yield split, Sample(key, parts)


def face(minutes: int, draw: np.random.Generator) -> bytes:
    """Grey values of a clock face, row by row; its look is drawn from `draw`."""
    side = SIZE * _LARGE
    picture = Image.new("L", (side, side), 255)
    pen = ImageDraw.Draw(picture)
    radius = int(draw.integers(30, 39)) * side // 80
    across, down = (side // 2 + int(draw.integers(-3, 4)) * _LARGE // 2 for _ in range(2))
    ring, marks = int(draw.integers(1, 4)) * _LARGE // 2, int(draw.integers(3))
    ground = int(draw.integers(215, 256))
    pen.ellipse((across - radius, down - radius, across + radius, down + radius), fill=ground, outline=0, width=ring)

    def hand(turn: float, start: float, end: float, width: int, ink: int) -> None:
        x, y = math.sin(2 * math.pi * turn) * radius, -math.cos(2 * math.pi * turn) * radius
        pen.line((across + start * x, down + start * y, across + end * x, down + end * y), fill=ink, width=width)

    for mark in range(0, 12, (12, 3, 1)[marks]):
        if marks:
            hand(mark / 12, 0.82, 0.95, _LARGE, 90)
    short, long = 0.42 + 0.1 * float(draw.random()), 0.72 + 0.12 * float(draw.random())
    width = int(draw.integers(2, 4))
    hand(minutes % 720 / 720, -0.08, short, (width + 1) * _LARGE // 2 + 4, 0)
    hand(minutes % 60 / 60, -0.08, long, width * _LARGE // 2, 0)
    large = np.asarray(picture).astype(np.int64).reshape(SIZE, _LARGE, SIZE, _LARGE)
    return np.asarray(large.sum((1, 3)) // _LARGE**2, np.uint8).tobytes()
