"""Maps over a picture, drawn for people.

Shapes here: S side of a picture in pixels, G side of a map.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmgen.modalities import contact_sheet, image
from mmgen.modalities.image import Picture

COLUMNS = 8
_SIDE = 128
_FOR, _AGAINST = (214, 39, 40), (31, 119, 180)


def word_rows(
    pictures: Sequence[Picture],
    words: Sequence[Sequence[str]],
    tiles: Sequence[Sequence[Picture]],
    titles: Sequence[str] | None = None,
) -> Picture:
    """A sheet with a row a picture: the picture over its title, then one tile a word over the word."""
    shown: list[Picture | None] = []
    labels: list[str] = []
    for picture, title, said, maps in zip(pictures, titles or [""] * len(pictures), words, tiles, strict=True):
        blanks = -(1 + len(said)) % COLUMNS
        shown += [picture, *maps, *[None] * blanks]
        labels += [title, *said, *[""] * blanks]
    return contact_sheet.show(shown, labels, COLUMNS)


def lit(picture: Picture, weights_GG: NDArray[np.float32]) -> Picture:
    """The picture, dark where the weights are low."""
    light = (255 * weights_GG / max(float(weights_GG.max()), 1e-9)).astype(np.uint8)
    light = image.resize(np.repeat(light[:, :, None], 3, axis=2), picture.shape[0])
    return (picture * (0.15 + 0.85 * light / 255)).astype(np.uint8)


def tinted(picture: Picture, weights_GG: NDArray[np.float32], most: float) -> Picture:
    """The picture, pale and grey, red where weights speak for something and blue where they speak against it.

    Args:
        most: weight of the strongest tint.
    """
    grey = np.asarray(image.resize(picture, _SIDE)).mean(axis=2, keepdims=True) * 0.4 + 255 * 0.6
    share = np.asarray(
        Image.fromarray((weights_GG / max(most, 1e-9)).clip(-1, 1).astype(np.float32)).resize(
            (_SIDE, _SIDE), Image.Resampling.BICUBIC
        )
    )[:, :, None].clip(-1, 1)
    ink = np.where(share > 0, np.array(_FOR), np.array(_AGAINST))
    found: Picture = (grey + 0.85 * np.abs(share) * (ink - grey)).astype(np.uint8)
    return found
