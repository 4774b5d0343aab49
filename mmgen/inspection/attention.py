"""Where a model looked for each word: attention over places of the picture.

Source: Xu et al. 2015, Show, Attend and Tell, arXiv:1502.03044, section 5.4.

Only a family whose attention runs over places can show this: `showtell`. The picture tokens of `anyto` and the codes of
`tokens` stand for principal components of the whole picture and lie nowhere; for them see `attribution`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mmgen.evaluation.tasks.task import Section
from mmgen.inspection.drawing import lit, word_rows
from mmgen.modalities.image import Picture


@runtime_checkable
class Attends(Protocol):
    """A model that says where it looked."""

    def attention(self, pictures: Sequence[Picture]) -> list[tuple[list[str], NDArray[np.float32]]]:
        """Of each picture the words that it says, and for each word a map over the picture, (words, G, G)."""


def attention(model: Attends, pictures: Sequence[Picture]) -> Section:
    """A row for each picture: the picture, then one tile a word, bright where the model looked when it said it."""
    looked = model.attention(pictures)
    tiles = [[lit(picture, weights) for weights in maps] for picture, (_, maps) in zip(pictures, looked, strict=True)]
    about = "Each picture begins a row: bright is where the model looked when it said the word below."
    return Section("attention", "Attention", about, sheet=word_rows(pictures, [words for words, _ in looked], tiles))
