"""How a judge learns: altered views of pictures through the common loop, so that a killed judge goes on where it was.

    scratch/     checkpoints and `metrics.jsonl`, as a generator's training keeps them; outlives a kill
    out/         `metrics.jsonl`; what else a judge writes, its own module says

Shapes here: N pictures, B of them in a step, S side in pixels.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgen.data.order import generator
from mmgen.errors import TrainingError
from mmgen.progress import Progress
from mmgen.recipes import Recipe
from mmgen.training.config import TrainingConfig
from mmgen.training.loop import learn


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """What one network learns."""

    x_N3SS: Tensor
    """Pictures in [-1, 1]."""
    label_N: Tensor
    """What each is: the number of a class, or of the picture itself."""
    stream: str
    """Keeps its random draws apart from those of other networks."""


class Views:
    """Batches by step: of each lesson altered views of pictures, `name.x`, and what they are, `name.label`.

    Args:
        lessons: by name.
        batch: pictures a step, of each lesson.
        seed: of the judge.
    """

    def __init__(self, lessons: Mapping[str, Lesson], batch: int, seed: int) -> None:
        self._lessons, self._batch, self._seed = lessons, batch, seed

    def at(self, step: int) -> dict[str, Tensor]:
        """The views of a step, drawn from seed, stream and step alone."""
        found = {}
        for name, lesson in self._lessons.items():
            rng = generator(self._seed, lesson.stream, step)
            rows_B = torch.randperm(len(lesson.x_N3SS), generator=rng)[: self._batch]
            found[f"{name}.x"] = altered(lesson.x_N3SS[rows_B], rng)
            found[f"{name}.label"] = lesson.label_N[rows_B]
        return found


def learn_judge(
    learner: nn.Module,
    lessons: Mapping[str, Lesson],
    recipe: Recipe,
    out: Path,
    scratch: Path,
    progress: Progress,
    *,
    weight_decay: float,
) -> None:
    """Train `learner` in place.

    Args:
        learner: its `objectives` take the batches of `Views`.
        lessons: by the name of the objective that they are for.
        recipe: its `judge` part; threads and the time between checkpoints are those of `training`.
        out: receives `metrics.jsonl`.
        scratch: holds the checkpoints; a training goes on from what it finds there.
        progress: where steps are shown.
        weight_decay: of AdamW.

    Raises:
        KeyboardInterrupt: stopped by a signal, after a checkpoint was saved.
        TrainingError: a loss is not finite or has diverged.
    """
    config = recipe.judge
    training = TrainingConfig(
        steps=config.steps,
        threads=recipe.training.threads,
        lr=2e-3,
        beta1=0.9,
        beta2=0.999,
        weight_decay=weight_decay,
        warmup=20,
        flat=0.5,
        final_lr=0.0,
        clip=math.inf,
        ema=0.0,
        checkpoint_seconds=recipe.training.checkpoint_seconds,
        sample_every=config.steps,
    )
    views = Views(lessons, config.batch, config.seed)
    try:
        # One objective alone would leave all cores but one idle.
        learn(learner, views, training, config.seed, scratch, progress, _nothing, stage="judge", at_once=False)
    except TrainingError as error:
        way = f"try other first weights with --set judge.seed={config.seed + 1}"
        raise TrainingError(f"recipe {recipe.name}, judge {config.kind!r}: {error}; {way}") from error
    shutil.copy2(scratch / "metrics.jsonl", out / "metrics.jsonl")


def altered(x_B3SS: Tensor, rng: torch.Generator) -> Tensor:
    """Each picture moved by up to 6 %, scaled by up to 10 %, blurred and grainy to a random degree."""
    batch = len(x_B3SS)

    def spread(limit: float) -> Tensor:
        return (torch.rand(batch, generator=rng) * 2 - 1) * limit

    zoom, zero = 1 + spread(0.1), torch.zeros(batch)
    turn_B23 = torch.stack([torch.stack([zoom, zero, spread(0.12)], 1), torch.stack([zero, zoom, spread(0.12)], 1)], 1)
    grid = F.affine_grid(turn_B23, list(x_B3SS.shape), align_corners=False)
    # Outside the picture is white, like its ground: 0 after the shift below.
    moved = F.grid_sample(x_B3SS - 1, grid, align_corners=False) + 1
    small = F.interpolate(moved, scale_factor=0.25, mode="bilinear", antialias=True)
    blurred = F.interpolate(small, size=moved.shape[-2:], mode="bilinear")
    share = torch.rand(batch, 1, 1, 1, generator=rng) * 0.8
    grain = torch.rand(batch, 1, 1, 1, generator=rng) * 0.25
    noise = torch.randn(moved.shape, generator=rng)
    return moved + share * (blurred - moved) + grain * noise


def _nothing(step: int) -> None:
    """A judge has no samples to look at."""
