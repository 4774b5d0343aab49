"""Every view that a model can have of a question, and why it lacks the others."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmgen.data.corpus import Corpus
from mmgen.errors import ConfigError, unknown
from mmgen.evaluation.tasks.task import Section
from mmgen.examples import Example
from mmgen.inspection import attention, attribution, latent, neighbours
from mmgen.inspection.neighbours import Features
from mmgen.modalities.image import Picture
from mmgen.models.base import Model

DRAWS = 6
"""Things made where nothing is given."""


@dataclass(frozen=True)
class Question:
    """What a model was asked, what it made of it, and what it is held against."""

    model: Model
    given: dict[str, list[Any]]
    """As many things of each source modality; empty for things made from nothing."""
    made: dict[str, list[Any]]
    """What came, by modality."""
    train: Corpus | None
    features: Features | None
    """The judge's, where there is one."""
    seed: int

    @property
    def titles(self) -> list[str]:
        """What was asked, in words."""
        count = len(next(iter(self.given.values()))) if self.given else DRAWS
        return [str(text) for text in self.given.get("text", [""] * count)]


def ask(
    model: Model, given: dict[str, list[Any]], train: Corpus | None, features: Features | None, seed: int
) -> Question:
    """Have the model make all that it can of what is given.

    Raises:
        ConfigError: the model makes nothing of these modalities.
    """
    wanted = set(given) or {"nothing"}
    targets = [target for source, target in model.pairs() if set(source.split(" and ")) == wanted]
    if not targets:
        sources = sorted({source for source, _ in model.pairs()})
        raise ConfigError(unknown("source of this model", " and ".join(sorted(wanted)), sources))
    count = len(next(iter(given.values()))) if given else DRAWS
    made: dict[str, list[Any]] = {}
    for target in targets:
        things = model.generate(given, target, count, seed=seed, options={})
        if target == "all":
            made |= {name: [thing[name] for thing in things] for name in things[0]}
        else:
            made[target] = things
    return Question(model, given, made, train, features, seed)


def views(question: Question) -> tuple[list[Section], dict[str, str]]:
    """The views of a question, and for each that is missing its name with the reason."""
    sections, missing = [_answers(question)], {}
    for name, view in _VIEWS.items():
        found = view(question)
        if isinstance(found, str):
            missing[name] = found
        else:
            sections.append(found)
    source = "_".join(sorted(question.given)) or "nothing"
    return [replace(section, name=f"{source}_{section.name}") for section in sections], missing


def _answers(question: Question) -> Section:
    tiles = []
    for row, title in enumerate(question.titles):
        shown = {f"given {name}": things[row] for name, things in question.given.items() if name != "text"}
        shown |= {f"made {name}": things[row] for name, things in question.made.items() if name != "text"}
        remarks: list[tuple[str, bool | None]] = [
            (things[row] or "nothing", None) for name, things in question.made.items() if name == "text"
        ]
        tiles.append(Example(title, shown, remarks))
    source = " and ".join(sorted(question.given)) or "nothing"
    about = f"Given {source}, made {' and '.join(question.made)}."
    return Section("answers", f"What it makes of {source}", about, tiles)


def _attention(question: Question) -> Section | str:
    if not isinstance(question.model, attention.Attends):
        return "no attention over places of the picture in this family"
    if "image" not in question.given:
        return "needs a picture: --from image=FILE"
    return attention.attention(question.model, question.given["image"])


def _pixels(question: Question) -> Section | str:
    if not isinstance(question.model, attribution.Describes):
        return "this family gives no probability to the words of a caption"
    if "image" not in question.given or "text" not in question.made:
        return "needs a picture: --from image=FILE"
    pictures, said = question.given["image"], question.made["text"]
    return attribution.pixels(question.model, pictures, said, question.model.config.image_px)


def _words(question: Question) -> Section | str:
    if ("text", "image") not in question.model.pairs():
        return "this family draws no picture from words"
    captions = [text for text in question.given.get("text", []) if len(attribution.spoken(text)) > 1]
    if set(question.given) != {"text"} or not captions:
        return 'needs a text of two words or more: --from text="red heart"'
    return attribution.words(question.model, captions, question.seed)


def _between(question: Question) -> Section | str:
    model, given = question.model, question.given
    if not isinstance(model, latent.Interpolates):
        return "no latent space or condition to walk in in this family"
    if not given:
        return latent.interpolations(model, [{}] * DRAWS, question.seed)
    if len(given) > 1 or "image" not in question.made:
        return "needs two things that pictures are made from"
    ((name, things),) = given.items()
    if len(things) < 2:
        return f"needs two things: --from {name}=... --from {name}=..."
    pairs = [{name: list(pair)} for pair in itertools.pairwise(things)]
    return latent.interpolations(model, pairs, question.seed)


def _traversals(question: Question) -> Section | str:
    if not isinstance(question.model, latent.Traverses):
        return "no latent numbers with a normal prior in this family"
    if question.train is None:
        return "needs the data set: --data DIR"
    return latent.traversals(question.model, question.model.latent_nats(question.train))


def _neighbours(question: Question) -> Section | str:
    made: Sequence[Picture] = question.made.get("image", ())
    if not made:
        return "this question makes no pictures"
    if question.train is None:
        return "needs the data set: --data DIR"
    train = question.train.images(made[0].shape[0])
    return neighbours.neighbours(made, question.titles, train, question.features)


_VIEWS: dict[str, Callable[[Question], Section | str]] = {
    "attention over the picture": _attention,
    "pixels that speak for each word": _pixels,
    "words that move the picture": _words,
    "interpolations": _between,
    "latent traversals": _traversals,
    "nearest training neighbours": _neighbours,
}
