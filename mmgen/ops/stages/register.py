"""Stage `register`: the model becomes a version in the registry, and takes the names that the verdict gives it."""

from __future__ import annotations

from pathlib import Path

from mmgen.errors import OutrunError
from mmgen.files import write_json
from mmgen.ops.runs.cache import StageResult
from mmgen.ops.runs.run import Run, throw_away
from mmgen.ops.stages.stage import make
from mmgen.ops.tracking.tracked import Tracked
from mmgen.progress import Progress


def register(run: Run, progress: Progress, *, kfp_run: str = "", promote: bool = True) -> StageResult:
    """Register the model under the names that the verdict gives it; also writes `mlflow.json`, where to look.

    `promote` is no part of any key: who may promote says nothing of what was made.

    Raises:
        OutrunError: the champion changed since the gate; its verdict is thrown away, so that the next try asks again.
    """
    from mmgen.ops.registry.registration import register as registration

    def fill(out: Path, tracked: Tracked) -> None:
        try:
            registration(run, tracked, out, kfp_run_id=kfp_run, promoting=promote)
        except OutrunError:
            throw_away(run, "gate")
            raise
        write_json(out / "mlflow.json", {"experiment_id": tracked.experiment_id, "run_id": tracked.parent_id})

    return make(run, "register", progress, kfp_run, fill)
