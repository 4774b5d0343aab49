"""What an evaluation is made of: a task gets a `Subject` and gives `Findings`; everything else is common to all.

A task is a module with `evaluate(subject) -> Findings`. To add one: write its file, add its line to `TASKS` in
`mmgen.evaluation.config`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmgen.data.dataset import load
from mmgen.examples import Example
from mmgen.files import read_json
from mmgen.modalities.image import Picture
from mmgen.progress import Progress
from mmgen.recipes import Recipe

if TYPE_CHECKING:
    from mmgen.models.base import Model

Metric = dict[str, float]
"""`value`, `low`, `high` (a 95 % interval) and `n`."""


@dataclass(frozen=True)
class Subject:
    """What is judged, and by what."""

    model: Model
    """Loaded."""
    judge: Path
    """Folder of the judge stage."""
    dataset: Path
    recipe: Recipe
    progress: Progress

    def judge_accuracy(self) -> dict[str, Metric]:
        """The judge's own accuracy on real data, as a metric; nothing where there is no judge."""
        card = read_json(self.judge / "judge.json")
        return {"judge.accuracy": card["accuracy"]} if "accuracy" in card else {}

    def splits(self, known: Iterable[str]) -> list[str]:
        """Those of `known` that the data set has, in their order; `seen` stands for a sample of the training split."""
        has = load(self.dataset).card.splits
        return [name for name in known if name == "seen" or name in has]

    def rng(self) -> np.random.Generator:
        """For intervals."""
        return np.random.default_rng(self.recipe.evaluation.seed)


@dataclass(frozen=True)
class Section:
    """A part of the report with examples or one picture."""

    name: str
    """Of its files: small letters, digits and `_`."""
    title: str
    about: str
    examples: Sequence[Example] = ()
    sheet: Picture | None = None
    """Shown instead of tiles; where it is missing, the contact sheet of the examples is kept beside the tiles."""


@dataclass(frozen=True)
class Findings:
    """What a task found."""

    headline: dict[str, str]
    """Metrics to show first, each with a few words: `{"image.r1_seen": "seen captions drawn right"}`. The first three
    head the report, at most fifteen are told to Kubeflow."""
    sections: list[Section]
    scores: dict[str, list[float]] = field(default_factory=dict)
    """One number a prompt, for every metric that is a mean over prompts; its interval is bootstrapped."""
    metrics: dict[str, Metric] = field(default_factory=dict)
    """Metrics of whole sets (KID, FID, BLEU, ...), with the interval that the task worked out."""
    prompts: dict[str, list[str]] = field(default_factory=dict)
    """Keys of the samples behind the scores: two models are comparable where these agree."""
    groups: dict[str, list[str]] = field(default_factory=dict)
    """Group of each prompt, by score; a score that is left out is not looked at by group."""
