"""Stage `evaluate`: score the trained model with the judge."""

from __future__ import annotations

from pathlib import Path

from mmgen.ops.runs.cache import StageResult
from mmgen.ops.runs.run import Run
from mmgen.ops.stages.stage import make
from mmgen.ops.tracking.tracked import Tracked
from mmgen.progress import Progress


def evaluate(run: Run, progress: Progress, *, kfp_run: str = "") -> StageResult:
    """Score the trained model with the judge."""
    from mmgen.evaluation import evaluate as evaluation

    def fill(out: Path, _: Tracked) -> None:
        model, judge = run.sealed("train") / "model", run.sealed("judge")
        evaluation.evaluate(model, judge, run.data_folder, run.recipe, out, progress)

    return make(run, "evaluate", progress, kfp_run, fill)
