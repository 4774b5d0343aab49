"""Stage `validate`: hold the data set against its expectations, and against the champion's data."""

from __future__ import annotations

from pathlib import Path

from mmgen.ops.runs.cache import StageResult
from mmgen.ops.runs.run import Run
from mmgen.ops.stages.stage import make
from mmgen.ops.tracking.tracked import Tracked
from mmgen.progress import Progress


def validate(run: Run, progress: Progress, *, kfp_run: str = "") -> StageResult:
    """Check the data set against its expectations, and against the champion's data.

    Raises:
        DataError: an expectation is not met, and the page with all rows lies in `run.unfinished("validate")`; or the
            data have shifted too far.
    """
    from mmgen.ops.stages import drift
    from mmgen.ops.validation import checks

    def fill(out: Path, _: Tracked) -> None:
        checks.validate(run.data_folder, run.recipe, out)

    result = make(run, "validate", progress, kfp_run, fill)
    drift.check(run)  # not part of the output: who is champion is not part of its key
    return result
