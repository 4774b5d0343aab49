"""The page of `mmgen inspect`: a model looked into, by a question of the reader's or by a few held-out prompts."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.dataset import CARD, load
from mmgen.errors import ConfigError
from mmgen.evaluation.evaluate import keep
from mmgen.evaluation.judges.class_judge import load_class_judge
from mmgen.evaluation.judges.concept_judge import load_concept_judge
from mmgen.evaluation.judges.views_judge import load_judge
from mmgen.evaluation.report.tiles import section
from mmgen.evaluation.tasks.task import Section
from mmgen.examples import spread
from mmgen.files import read_json
from mmgen.generate import Generator
from mmgen.inspection.neighbours import Features
from mmgen.inspection.views import ask, views
from mmgen.models.base import Model
from mmgen.page import page, safe
from mmgen.recipes import Recipe

HELD_OUT = ("test", "compositions", "concepts")
PROMPTS = 4
"""Held-out prompts of each modality that the model reads."""
_STYLE = "td:first-child { white-space: nowrap }"


def inspect(
    model_folder: Path,
    recipe: Recipe,
    dataset: Path,
    evaluation: Path | None,
    judge: Path | None,
    given: dict[str, list[Any]],
    seed: int,
) -> tuple[str, dict[str, str]]:
    """The page, and for each view that is missing on it its name with the reason.

    Args:
        model_folder: written by the training stage.
        recipe: that made it.
        dataset: its data set; views that need it are left out where it is not built.
        evaluation: sealed folder of the model's evaluation, whose failures are shown; None where it is gone.
        judge: folder of the judge; None where it is gone.
        given: things by modality to ask about; empty for held-out prompts of the data set.
        seed: of the noise.

    Raises:
        ConfigError: the model makes nothing of what is given, or nothing is given and there is no data set.
    """
    model = Generator.load(model_folder).model
    train = load_corpus(dataset, "train") if (dataset / CARD).is_file() else None
    features = _features(judge, recipe) if judge else None
    sections: list[Section] = []
    lacking: list[dict[str, str]] = []
    for things in [given] if given else _held_out(model, recipe, dataset):
        found, reasons = views(ask(model, things, train, features, seed))
        sections += found
        lacking.append(reasons)
    missing = {name: why for name, why in lacking[0].items() if all(name in reasons for reasons in lacking)}
    traversals = [one for one in sections if one.name.endswith("traversals")]
    sections = [one for one in sections if one not in traversals[1:]]  # they are the same whatever is asked
    with tempfile.TemporaryDirectory() as scratch:
        body = [section(keep(one, Path(scratch)), Path(scratch)) for one in sections]
    failures = _failures(evaluation)
    if failures:
        body.append(failures)
    else:
        missing["failures by group"] = "no evaluation of this model is there; run its recipe"
    pairs = ", ".join(f"{source} to {target}" for source, target in model.pairs())
    head = [
        f"<h1>Inside {safe(recipe.name)}: family {safe(model.config.family)}</h1>",
        f"<p class=soft>{safe(pairs)}; seed {seed}; learned from {safe(recipe.data.name)}</p>",
    ]
    return page(f"inside {recipe.name}", [*head, *body, _missing(missing)], _STYLE), missing


def _held_out(model: Model, recipe: Recipe, dataset: Path) -> list[dict[str, list[Any]]]:
    """A question for each single source that the model knows, of things that it never learned from."""
    sources = list(dict.fromkeys(source for source, _ in model.pairs() if " and " not in source))
    if sources == ["nothing"]:
        return [{}]
    if not (dataset / CARD).is_file():
        raise ConfigError(f"data set {str(dataset)!r} is not built; build it, or ask with --from")
    has = load(dataset).card.splits
    asked = load_corpus(dataset, next(split for split in (*HELD_OUT, "train") if split in has))
    asked = asked.take(spread(len(asked), PROMPTS))
    return [_things(asked, source, recipe.data.languages[0]) for source in sources]


def _things(asked: Corpus, source: str, language: str) -> dict[str, list[Any]]:
    if source == "nothing":
        return {}
    return {source: asked.captions(language) if source == "text" else asked.media([source])[source]}


def _features(folder: Path, recipe: Recipe) -> Features | None:
    """What the judge sees of pictures; None for one that sees none."""
    kind = recipe.judge.kind
    if kind == "views":
        own = {name: read_json(folder / "judge.json")["config"][name] for name in ("width", "features")}
        return load_judge(folder, dataclasses.replace(recipe.judge, **own)).features
    if kind == "classes":
        return load_class_judge(folder).features
    return load_concept_judge(folder).image.features if kind == "concepts" else None


def _failures(evaluation: Path | None) -> str:
    """The gallery that the evaluation left."""
    if evaluation is None:
        return ""
    found = read_json(evaluation / "examples.json")["sections"]
    return "".join(section(one, evaluation) for one in found if one["name"] == "failures")


def _missing(missing: dict[str, str]) -> str:
    lines = "".join(f"<tr><td>{safe(name)}</td><td class=soft>{safe(why)}</td></tr>" for name, why in missing.items())
    return f"<h2>Not on this page</h2><div class=card><table>{lines}</table></div>" if missing else ""
