"""Stage `train`: train the generator, here or in processes that are started and watched from here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmgen.files import read_json
from mmgen.ops.distributed import torchrun
from mmgen.ops.runs import ledger
from mmgen.ops.runs.cache import StageResult, scratch
from mmgen.ops.runs.run import Run, find_output
from mmgen.ops.stages.stage import make
from mmgen.ops.storage.checkpoints import forget, mirrored
from mmgen.ops.tracking.tracked import Tracked
from mmgen.progress import Progress

if TYPE_CHECKING:
    from mmgen.training.workers import Workers


def train(run: Run, progress: Progress, *, kfp_run: str = "", workers: Workers | None = None) -> StageResult:
    """Train the generator; a run that was killed goes on from its newest checkpoint.

    Where the recipe or the task's environment says so, other processes do it (`mmgen.ops.distributed`) and this one
    watches.

    Args:
        workers: set in the first of those processes: who trains along with it.

    Raises:
        TrainingError: the loss is not finite.
        WorkersError: a process of several was killed more often than is tried again.
    """
    from mmgen.ops.registry.starting_weights import initial_model
    from mmgen.training import train as training

    if workers is None and (watch := torchrun.watcher(run)) and find_output(run, "train") is None:
        return watch(run, progress, kfp_run)
    key = run.keys.stages["train"]
    told: list[bool] = []

    def tell(plan: dict[str, object] | None) -> None:
        told.append(True)
        if workers:
            workers.tell(plan)

    def fill(out: Path, _: Tracked) -> None:
        set_aside = sorted(
            {entry["key"] for entry in read_json(run.sealed("validate") / "validation.json")["quarantined"]}
        )
        start, parts = initial_model(run.root, run.recipe), ledger.parts(run, "train")
        if parts > 1:
            progress.note(f"memory ran out before: each batch is taken in {parts} parts; the weights differ a little")
        tell({"quarantined": set_aside, "parts": parts})
        with mirrored(run.root, key, scratch(out)):
            training.train(run.data_folder, run.recipe, out, scratch(out), progress, set_aside, start, parts, workers)

    try:
        result = make(run, "train", progress, kfp_run, fill)
    finally:
        if not told:  # it was done already, or could not begin
            tell(None)
    if result.state == "ran":
        forget(run.root, key)
    return result
