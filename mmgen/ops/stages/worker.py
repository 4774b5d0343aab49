"""One process of a training in several: `torchrun -m mmgen.ops.stages.worker RECIPE SETTINGS ROOT DATA KFP_RUN`.

The first process does the whole stage, as `train` does it alone. The others only compute their shares; they learn from
the first what it read, and write nothing. A process ends with 0 unless starting all of them again could help: what is
wrong has been told in the events, or stands in the ledger of attempts.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from mmgen.errors import MmgenError, WorkersError
from mmgen.ops.distributed import processes
from mmgen.ops.runs.run import Run, open_run
from mmgen.ops.stages import parameters
from mmgen.ops.stages.train import train as train_stage
from mmgen.ops.storage.roots import open_root
from mmgen.progress import Progress

if TYPE_CHECKING:
    from mmgen.training.workers import Workers


def main(recipe: str, settings: str, root: str, data: str, kfp_run: str) -> int:
    """Take part in a training; returns the exit code."""
    processes.end_with_parent()
    from mmgen.training.workers import joined

    try:
        if os.environ["RANK"] == "0":
            with (
                parameters.opened("train", recipe, settings, root, data, events=os.environ.get("MMGEN_EVENTS")) as job,
                joined(job.run.recipe.training.device) as workers,
            ):
                train_stage(job.run, job.progress, kfp_run=kfp_run, workers=workers)
        else:
            run = open_run(recipe, parameters.split(settings), open_root(root), open_root(data))
            with joined(run.recipe.training.device) as workers:
                _help(run, workers)
    except MmgenError as error:
        print(f"mmgen: {error}", file=sys.stderr)
        return error.exit_code if error.exit_code == WorkersError.exit_code else 0
    except KeyboardInterrupt as error:
        print(f"mmgen: {error}", file=sys.stderr)
    except Exception:
        traceback.print_exc()
    return 0


def _help(run: Run, workers: Workers) -> None:
    """Train along with the first process."""
    from mmgen.ops.registry.starting_weights import initial_model
    from mmgen.training.train import train

    plan = workers.tell()
    if plan is None:
        return
    start = initial_model(run.root, run.recipe)
    with tempfile.TemporaryDirectory(prefix="mmgen-") as folder:
        nowhere = Path(folder)
        train(
            run.data_folder,
            run.recipe,
            nowhere,
            nowhere,
            Progress(),
            plan["quarantined"],
            start,
            plan["parts"],
            workers,
        )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
