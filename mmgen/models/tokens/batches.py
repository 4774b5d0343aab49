"""Batches of the token model, from a corpus that is encoded once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.data.order import Order
from mmgen.models.anyto.vocabulary import PAD


@dataclass(frozen=True)
class Batch:
    """What one step learns from; N captions to draw, M pictures to describe."""

    prompt_NT: Tensor
    """Captions as word numbers, and"""
    drawn_NG: Tensor
    """the codes of their pictures."""
    read_MG: Tensor
    """Codes of the pictures to describe, and"""
    caption_MT: Tensor
    """their captions."""


class TokensBatches:
    """All pictures as codes and all captions as word numbers, with the order to draw them in.

    Args:
        codes_NG: codes of every picture.
        words_LNT: captions of every picture in each language.
        weights_N: how often a picture should come.
        image_batch: captions a step to turn into pictures.
        text_batch: pictures a step to turn into captions.
        seed: of the run.
    """

    def __init__(
        self, codes_NG: Tensor, words_LNT: Tensor, weights_N: Tensor, image_batch: int, text_batch: int, seed: int
    ) -> None:
        self._codes_NG, self._words_LNT = codes_NG, words_LNT
        self._draw = Order(weights_N, image_batch, seed, "draw")
        self._read = Order(weights_N, text_batch, seed, "read")

    def at(self, step: int) -> Batch:
        """The batch of a step; languages take turns within it."""
        drawn_N, read_M = self._draw.at(step), self._read.at(step)
        return Batch(
            prompt_NT=self._captions(drawn_N, step),
            drawn_NG=self._codes_NG[drawn_N],
            read_MG=self._codes_NG[read_M],
            caption_MT=self._captions(read_M, step),
        )

    def _captions(self, rows_B: Tensor, step: int) -> Tensor:
        turn_B = (torch.arange(len(rows_B)) + step) % len(self._words_LNT)
        return without_padding(self._words_LNT[turn_B, rows_B])


def without_padding(words_BT: Tensor) -> Tensor:
    """Without the padding that all rows share."""
    return words_BT[:, : max((words_BT != PAD).sum(1).tolist(), default=0)]
