"""What all stages have in common: a stage is made once, recorded in MLflow and in the ledger, and sealed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from mmgen.ops.runs import attempts, ledger
from mmgen.ops.runs.cache import StageResult, run_stage, sealed_output
from mmgen.ops.runs.keys import STAGES
from mmgen.ops.runs.run import Run
from mmgen.ops.runs.watchdog import watched
from mmgen.ops.tracking.stage_run import stage_run
from mmgen.ops.tracking.tracked import Tracked
from mmgen.progress import Progress

WAIT_SECONDS = 30.0
"""How long a stage waits for another process at the same output: one that was killed may still be ending."""


def make(
    run: Run, stage: str, progress: Progress, kfp_run: str, fill: Callable[[Path, Tracked], object]
) -> StageResult:
    """Make the output of `stage` with `fill`, unless it is there already.

    What lies around `fill(out, tracked)`, from the outside in: the lock and the seal of the output (`runs.cache`), the
    outputs of earlier stages, the ledger of attempts with its budget (`runs.attempts`), and the stage's run in MLflow
    (`tracking.stage_run`).

    Args:
        kfp_run: id of the run in Kubeflow; empty without one.
        fill: fills the empty folder `out`.
    """
    began = time.monotonic()
    progress.stage(stage, "running")

    def work(out: Path) -> None:
        for earlier in STAGES[: STAGES.index(stage)]:  # on a cluster another pod made them
            sealed_output(run.root, earlier, run.keys.stages[earlier])
        with (
            attempts.attempt(run, stage) as attempt,
            stage_run(run, stage, out, kfp_run_id=kfp_run) as tracked,
        ):
            fill(out, tracked)
            attempt.beat()

    try:
        result = run_stage(stage, run.keys.stages[stage], run.root, work, facts=run.facts(stage), wait=WAIT_SECONDS)
    except BaseException:
        progress.stage(stage, "failed", time.monotonic() - began)
        raise
    progress.stage(stage, result.state, result.seconds)
    return result


def watched_stage(stage: str, run: Run, progress: Progress) -> contextlib.AbstractContextManager[Progress]:
    """The progress of a stage, which ends the process when it stands still."""
    return watched(progress, run.recipe.limits.stall_seconds, lambda: ledger.end_open(run, stage, "stalled"))
