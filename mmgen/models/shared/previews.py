"""What models of pictures and captions show of themselves while they learn."""

from __future__ import annotations

from mmgen.data.corpus import Corpus
from mmgen.examples import Example, spread
from mmgen.models.base import Model

PREVIEW = 16
"""Captions or pictures, spread over the data set."""


def drawn(model: Model, corpus: Corpus, language: str, seed: int) -> list[Example]:
    """Pictures of the same captions for every run on a data set."""
    asked = corpus.take(spread(len(corpus), PREVIEW)).captions(language)
    made = model.generate({"text": asked}, "image", len(asked), seed=seed, options={})
    return [Example(caption, {"drawn": picture}) for caption, picture in zip(asked, made, strict=True)]


def told(model: Model, corpus: Corpus, px: int, seed: int) -> list[Example]:
    """Captions of the same pictures, `px` wide and high, for every run on a data set."""
    real = corpus.take(spread(len(corpus), PREVIEW)).images(px)
    said = model.generate({"image": real}, "text", len(real), seed=seed, options={})
    return [Example(text or "nothing", {"real": picture}) for text, picture in zip(said, real, strict=True)]
