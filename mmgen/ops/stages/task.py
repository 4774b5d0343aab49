"""A task of the pipeline: what a component calls to get its stage done.

    component                              hands what the stage sealed to Kubeflow
      perform                              a laptop: does the stage in this process
        python -m mmgen.ops.stages.task    a pod: a child does it, and is started again when a signal or a fault that
                                           may pass ended it

Kubeflow's stock installation tries a task again only when its pod has vanished, and never when the container failed,
as after the kernel killed a process for its memory. So inside of a pod the stage is restarted here: training goes on
from its newest checkpoint, and the ledger of attempts (`mmgen.ops.runs.attempts`) limits what all tries may cost. An
error of the user, such as refused data or a wrong setting, ends the task at once.

Environment: MMGEN_RESTARTS is how often a stage may be started again; without it there is no child.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from mmgen.errors import MmgenError, OutOfMemoryError, StorageError
from mmgen.ops.distributed import processes
from mmgen.ops.runs.run import Run, open_run
from mmgen.ops.stages import parameters
from mmgen.ops.stages.gate import score_for_gate
from mmgen.ops.stages.table import FUNCTIONS
from mmgen.ops.storage.roots import open_root

RESTARTS = "MMGEN_RESTARTS"

PASSING = (StorageError.exit_code, OutOfMemoryError.exit_code)
"""Exit codes of faults that another try may not meet."""

PAUSE_SECONDS = 5.0
"""Before the first restart; twice as long before each further one."""


def perform(
    stage: str,
    recipe: str,
    settings: str,
    root: str,
    data: str,
    kfp_run: str,
    *,
    promote: bool = True,
    finished: Callable[[Run], object] | None = None,
) -> Run:
    """Do `stage` unless it is sealed already, and return its run.

    Args:
        settings: overrides, joined by `;` or line ends.
        root, data: a folder, or `s3://bucket/prefix`.
        kfp_run: id of the run in Kubeflow.
        promote: for stage `register`: whether the gate's verdict makes a champion at once.
        finished: called at the end, also when the stage failed; not when the run could not be described.

    Raises:
        MmgenError: as the stage raised it, where it ran in this process.
        SystemExit: with the exit code of the child, which has reported its error.
    """
    restarts = int(os.environ.get(RESTARTS) or 0)
    if not restarts:
        with parameters.opened(stage, recipe, settings, root, data, events=os.environ.get("MMGEN_EVENTS")) as job:
            try:
                _do(stage, job, kfp_run, promote)
            finally:
                if finished:
                    finished(job.run)
            return job.run
    parameters.plain(recipe, settings, root, data)
    words = (stage, recipe, settings, root, data, kfp_run, str(promote))
    failure: SystemExit | None = None
    try:
        _supervise(stage, processes.python("mmgen.ops.stages.task", *words), restarts)
    except SystemExit as error:
        failure = error
    try:
        run = open_run(recipe, parameters.split(settings), open_root(root), open_root(data))
    except MmgenError:  # the child has said so
        raise failure or SystemExit(StorageError.exit_code) from None
    if finished:
        finished(run)
    if failure:
        raise failure
    return run


def _supervise(stage: str, command: list[str], restarts: int) -> None:
    """Run `command` until it succeeds, fails for good, or was started again `restarts` times."""
    for restart in range(restarts + 1):
        try:
            with processes.child(command) as started:
                code = started.wait()
        except KeyboardInterrupt:
            raise SystemExit(parameters.INTERRUPTED) from None
        if code == 0:
            return
        if code > 0 and code not in PASSING:
            raise SystemExit(code)
        why = f"signal {-code} ended its process" if code < 0 else f"it failed with exit code {code}, which may pass"
        if restart == restarts:
            print(f"mmgen: stage {stage}: {why}, after {restarts} restarts; given up", file=sys.stderr, flush=True)
            raise SystemExit(128 - code if code < 0 else code)
        print(f"mmgen: stage {stage}: {why}; restart {restart + 1} of {restarts}", file=sys.stderr, flush=True)
        try:
            with processes.interrupted():
                time.sleep(PAUSE_SECONDS * 2**restart)
        except KeyboardInterrupt:
            raise SystemExit(parameters.INTERRUPTED) from None


def _do(stage: str, job: parameters.Job, kfp_run: str, promote: bool) -> None:
    more = {"promote": promote} if stage == "register" else {}
    FUNCTIONS[stage](job.run, job.progress, kfp_run=kfp_run, **more)
    if stage == "evaluate":
        score_for_gate(job.run, job.progress)


def main(stage: str, recipe: str, settings: str, root: str, data: str, kfp_run: str, promote: str) -> int:
    """Do one stage as the child of a task; returns the exit code."""
    processes.end_with_parent()
    try:
        with parameters.opened(stage, recipe, settings, root, data, events=os.environ.get("MMGEN_EVENTS")) as job:
            _do(stage, job, kfp_run, promote == "True")
    except MmgenError as error:
        print(f"mmgen: stage {stage}: {error}", file=sys.stderr)  # last in the log, where people look first
        return error.exit_code
    except KeyboardInterrupt:
        return parameters.INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
