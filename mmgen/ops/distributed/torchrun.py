"""Training in several processes of this machine: torchrun starts them, this process watches.

    stage `train`                              reads the events of the first process; stops all when it is stopped
      torch.distributed.run                    starts the processes, and all of them again when one was killed
        python -m mmgen.ops.stages.worker      one a share of each batch; the first has lock, ledger, MLflow run, files

On a cluster with several nodes a TrainJob takes the place of the first two (`mmgen.ops.distributed.trainjob`).
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mmgen.errors import MmgenError, WorkersError
from mmgen.files import is_sealed
from mmgen.ops.distributed import processes, trainjob
from mmgen.ops.runs.cache import StageResult
from mmgen.ops.runs.run import Run
from mmgen.ops.storage.roots import address
from mmgen.progress import Progress, read_events, replay

RESTARTS = 3
"""How often all processes are started again after one was killed, before the attempt is given up."""
POLL_SECONDS = 0.1

Watch = Callable[[Run, Progress, str], StageResult]


def watcher(run: Run) -> Watch | None:
    """What starts and watches the processes that train; None where this process does it itself."""
    if os.environ.get("MMGEN_TRAIN_NODES"):
        return trainjob.train
    return train if run.recipe.training.processes > 1 else None


def train(run: Run, progress: Progress, kfp_run: str) -> StageResult:
    """Train in as many processes as the recipe says; the stage is sealed then.

    Raises:
        MmgenError: as the first process told it.
        WorkersError: processes were killed more than `RESTARTS` times.
        KeyboardInterrupt: stopped; all processes have ended, and a checkpoint was saved.
    """
    began = time.monotonic()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--max-restarts={RESTARTS}"]
    command += [f"--nproc-per-node={run.recipe.training.processes}"]
    command += processes.worker_arguments(run, address(run.root), address(run.data_root), kfp_run)
    told: list[tuple[str, int]] = []
    with tempfile.TemporaryDirectory(prefix="mmgen-") as folder:
        events, offset = Path(folder) / "events.jsonl", 0
        with processes.child(command, _environment(events)) as child:
            ended = False
            while not ended:
                ended = child.poll() is not None  # asked before reading: what was written last is read too
                found, offset = read_events(events, offset)
                for event in found:
                    if "error" in event:
                        told.append((event["error"]["message"], event["error"]["exit_code"]))
                    else:
                        replay(event, progress)
                if not ended:
                    time.sleep(POLL_SECONDS)
    if not is_sealed(run.folder("train")):
        raise reason(told, f"the processes of the training ended with code {child.returncode}")
    return StageResult(name="train", state="ran", folder=run.folder("train"), seconds=time.monotonic() - began)


def reason(told: list[tuple[str, int]], otherwise: str) -> BaseException:
    """The error that explains why a training has ended: one that is final rather than that a process is gone.

    Args:
        told: messages and exit codes, in the order in which they came.
        otherwise: what is said when nothing was.
    """
    final = [each for each in told if each[1] != WorkersError.exit_code] or told[-1:]
    if not final:
        return WorkersError(f"{otherwise} and gave no reason; run again to go on from the last checkpoint")
    message, code = final[0][0].removeprefix("stage train: "), final[0][1]
    return KeyboardInterrupt(message) if code == 60 else processes.ERRORS.get(code, MmgenError)(message)


def _environment(events: Path) -> dict[str, str]:
    own = {"MMGEN_EVENTS": str(events), "OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":
        own["GLOO_SOCKET_IFNAME"] = "lo"  # the processes of one machine need no port that others can reach
    return own
