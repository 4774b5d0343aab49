"""Batches of the any-to-any model, from a corpus that is encoded once.

A step draws `image_batch` captions to turn into pictures and `text_batch` pictures to turn into captions. Skin tones
give some concepts 30 variants and most only one; drawn evenly, the single ones would starve, so a picture's weight
falls with the number of its variants.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.data.order import Order


@dataclass(frozen=True)
class Batch:
    """What one step learns from; N captions to draw, M pictures to describe."""

    drawn_NC: Tensor
    """Coefficients of the pictures to draw, and"""
    prompt_NT: Tensor
    """their captions as word numbers."""
    read_MC: Tensor
    """Coefficients of the pictures to describe, and"""
    caption_MT: Tensor
    """their captions."""


class AnyToBatches:
    """All pictures as coefficients and all captions as word numbers, with the order to draw them in.

    Args:
        z_NC: coefficients of every picture.
        words_LNT: captions of every picture in each language.
        weights_N: how often a picture should come.
        image_batch: captions a step to turn into pictures.
        text_batch: pictures a step to turn into captions.
        seed: of the run.
    """

    def __init__(
        self, z_NC: Tensor, words_LNT: Tensor, weights_N: Tensor, image_batch: int, text_batch: int, seed: int
    ) -> None:
        self._z_NC, self._words_LNT = z_NC, words_LNT
        self._draw = Order(weights_N, image_batch, seed, "draw")
        self._read = Order(weights_N, text_batch, seed, "read")

    def at(self, step: int) -> Batch:
        """The batch of a step; languages take turns within it."""
        drawn_N, read_M = self._draw.at(step), self._read.at(step)
        languages = len(self._words_LNT)
        turn_N = (torch.arange(len(drawn_N)) + step) % languages
        turn_M = (torch.arange(len(read_M)) + step) % languages
        return Batch(
            drawn_NC=self._z_NC[drawn_N],
            prompt_NT=self._words_LNT[turn_N, drawn_N],
            read_MC=self._z_NC[read_M],
            caption_MT=self._words_LNT[turn_M, read_M],
        )
