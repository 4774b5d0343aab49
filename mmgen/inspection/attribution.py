"""Which pixels speak for each word, and which words move the picture.

Pixels: occlusion (Zeiler and Fergus 2013, arXiv:1311.2901), by captum. A white square, which is the ground of the
pictures, hides each part of the picture in turn; what a word's log-probability then loses is what that part says for
the word. It needs no gradient, so it is the same for families that read pixels, principal components or discrete codes.
Unlike integrated gradients (arXiv:1703.01365) it answers in parts that a person can see.

Words: erasure (Li et al. 2016, arXiv:1612.08220). The picture is drawn again, from the same noise, without each word;
how far it moves says what the word did.

Shapes here: B pictures, S side, T words, G side of a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgen.evaluation.tasks.task import Section
from mmgen.inspection.drawing import tinted, word_rows
from mmgen.modalities.image import Picture, resize, to_tensor
from mmgen.models.anyto.vocabulary import join, split
from mmgen.models.base import Model

WINDOW, STRIDE = 4, 8
"""The square's side is the picture's over `WINDOW`; it moves by the side over `STRIDE`."""
CHUNK = 64
"""Most altered pictures in one pass."""
LEAST = 0.1
"""Nats below which no pixel is tinted at full strength: what hardly matters should look so."""


@runtime_checkable
class Describes(Protocol):
    """A model that says how likely the words of a caption are."""

    config: object
    languages: tuple[str, ...]

    def word_likelihoods(self, x_B3SS: Tensor, caption: str, language: str) -> Tensor:
        """Log-probability (B, T) in nats of each word after those before it, given pictures in [-1, 1]."""


@torch.no_grad()
def spoken_for(model: Describes, picture: Picture, caption: str) -> NDArray[np.float32]:
    """What each place of a picture says for each word of a caption, (T, S, S) in nats a pixel of the hiding square.

    Args:
        picture: at the side that the model reads.
    """
    from captum.attr import Occlusion  # type: ignore[import-untyped]

    side, language = picture.shape[0], model.languages[0]
    found = Occlusion(lambda x_B3SS: model.word_likelihoods(x_B3SS, caption, language)).attribute(
        to_tensor([picture]),
        sliding_window_shapes=(3, side // WINDOW, side // WINDOW),
        strides=(3, side // STRIDE, side // STRIDE),
        baselines=1.0,
        perturbations_per_eval=CHUNK,
    )
    maps: NDArray[np.float32] = found.reshape(-1, 3, side, side).mean(1).numpy()
    return maps


def pixels(model: Describes, pictures: Sequence[Picture], captions: Sequence[str], px: int) -> Section:
    """A row for each picture: the picture, then one tile a word, red where it speaks for the word, blue against it."""
    own = [resize(picture, px) for picture in pictures]
    words: list[list[str]] = []
    tiles: list[list[Picture]] = []
    for picture, caption in zip(own, captions, strict=True):
        if not caption:
            words.append([])
            tiles.append([])
            continue
        maps = spoken_for(model, picture, caption)
        sure = model.word_likelihoods(to_tensor([picture]), caption, model.languages[0])[0].exp().tolist()
        words.append([f"{word} {share:.2f}" for word, share in zip(split(caption), sure, strict=False)])
        tiles.append([tinted(picture, one, max(LEAST, float(np.abs(one).max()))) for one in maps])
    about = (
        "Each picture begins a row, the words that the model says of it follow, each with its probability: red parts "
        "speak for the word, blue ones against it. Found by hiding parts with a white square (occlusion)."
    )
    return Section("pixels", "Which pixels speak for each word", about, sheet=word_rows(own, words, tiles))


def words(model: Model, captions: Sequence[str], seed: int) -> Section:
    """A row for each caption: its picture, then one tile a word, the picture without it and how far that moved it."""
    wholes, labels, tiles = [], [], []
    for caption in captions:
        whole, moved = erased(model, caption, seed)
        wholes.append(whole)
        labels.append([f"without {word!r}: {far:.2f}" for word, _, far in moved])
        tiles.append([picture for _, picture, _ in moved])
    about = (
        "The picture of each caption begins a row; then the same without one of its words, from the same noise "
        "(erasure), and how far that moves it: root mean square of the difference of pixels, 0 to 1."
    )
    return Section(
        "words", "Which words move the picture", about, sheet=word_rows(wholes, labels, tiles, titles=captions)
    )


def erased(model: Model, caption: str, seed: int) -> tuple[Picture, list[tuple[str, Picture, float]]]:
    """The picture of a caption, and for each of its words the picture without it and how far that lies."""
    whole, tokens, found = _drawn(model, caption, seed), split(caption), []
    for place in spoken(caption):
        picture = _drawn(model, join([*tokens[:place], *tokens[place + 1 :]]), seed)
        found.append((tokens[place], picture, distance(whole, picture)))
    return whole, found


def distance(a: Picture, b: Picture) -> float:
    """Root mean square difference of two pictures' pixels on the scale of 0 to 1."""
    return float(np.sqrt(np.square((a.astype(np.float64) - b) / 255).mean()))


def spoken(caption: str) -> list[int]:
    """Places of a caption's tokens that are words and not punctuation."""
    return [place for place, word in enumerate(split(caption)) if any(letter.isalnum() for letter in word)]


def _drawn(model: Model, caption: str, seed: int) -> Picture:
    # One at a time: the noise of a picture depends on its place in the list.
    picture: Picture = model.generate({"text": [caption]}, "image", 1, seed=seed, options={})[0]
    return picture
