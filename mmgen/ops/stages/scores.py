"""Scores that the gate compares: of any model, on the prompts of one run.

They are sealed like a stage, under the key that the model's own evaluation has when nothing differs. They are made
where there is torch (after stage `evaluate`); the gate, whose image has none, finds them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from mmgen.errors import ConfigError, DataError, StorageError
from mmgen.files import write_json
from mmgen.ops.gate.gate import UNSCORED
from mmgen.ops.runs.cache import run_stage
from mmgen.ops.runs.keys import key_of, scores_parts
from mmgen.ops.runs.run import Run

if TYPE_CHECKING:
    from mmgen.progress import Progress


def scores_of(run: Run, model: Path, train_key: str, progress: Progress, number: int = 0) -> Path:
    """Scores of a model on this run's prompts and seeds: its own when they still hold, else made anew.

    Args:
        model: folder of the model.
        train_key: key of the training that made it.
        number: round of the gate: each asks twice as many prompts as the one before, as far as there are so many, and
            draws other noise.

    Returns:
        A sealed folder like the one of stage `evaluate`, or with `UNSCORED`.

    Raises:
        StorageError: the scores are wanted where there is no torch.
    """
    own = run.recipe.evaluation
    asked = dataclasses.replace(
        own, seen=own.seen * 2**number, samples=own.samples * 2**number, seed=own.seed + 1000 * number
    )

    def work(out: Path) -> None:
        try:
            from mmgen.evaluation.evaluate import evaluate
        except ModuleNotFoundError as error:
            raise StorageError(
                f"the champion changed after this run's model was scored, and there is no {error.name} here to score "
                "it; run again"
            ) from error
        recipe = dataclasses.replace(run.recipe, evaluation=asked)
        try:
            evaluate(model, run.folder("judge"), run.data_folder, recipe, out, progress)
        except (ConfigError, DataError) as error:  # it speaks another language, say: the two have no common ground
            write_json(out / UNSCORED, {"reason": str(error)})

    settings = {f"evaluation.{name}": getattr(asked, name) for name in ("seen", "samples", "seed")}
    parts = scores_parts(run.keys, train_key, settings if number else {})
    facts = {**run.facts("evaluate"), "key": key_of(parts), "parts": parts, "scores_of": train_key}
    return run_stage("evaluate", key_of(parts), run.root, work, facts=facts).folder


def scores_folder(run: Run, train_key: str) -> Path:
    """Where the first of `scores_of` stands, or will."""
    return run.root / "stages" / "evaluate" / key_of(scores_parts(run.keys, train_key, {}))
