"""Stage `judge`: make the judge that scores what models of this recipe make."""

from __future__ import annotations

import importlib
from pathlib import Path

from mmgen.evaluation.config import JUDGES
from mmgen.ops.runs.cache import StageResult, scratch
from mmgen.ops.runs.run import Run
from mmgen.ops.stages.stage import make
from mmgen.ops.storage.checkpoints import forget, mirrored
from mmgen.ops.tracking.tracked import Tracked
from mmgen.progress import Progress


def judge(run: Run, progress: Progress, *, kfp_run: str = "") -> StageResult:
    """Make the judge that the recipe asks for; one that was killed goes on from its newest checkpoint."""
    module, key = importlib.import_module(JUDGES[run.recipe.judge.kind]), run.keys.stages["judge"]

    def fill(out: Path, _: Tracked) -> None:
        with mirrored(run.root, key, scratch(out)):
            module.train_judge(run.data_folder, run.recipe, out, scratch(out), progress)

    result = make(run, "judge", progress, kfp_run, fill)
    if result.state == "ran":
        forget(run.root, key)
    return result
