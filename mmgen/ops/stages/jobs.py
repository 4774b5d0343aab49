"""One function a stage, for the components and the command line alike: run it once, record it, seal it."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmgen.errors import ConfigError, MmgenError, OutrunError
from mmgen.files import is_sealed, read_json, write_json
from mmgen.ops.runs import attempts, ledger
from mmgen.ops.runs.cache import StageResult, run_stage, scratch, sealed_output
from mmgen.ops.runs.keys import RULES, STAGES
from mmgen.ops.runs.run import Run, find_output, open_run, throw_away
from mmgen.ops.runs.watchdog import watched
from mmgen.ops.storage.objects import SCHEME
from mmgen.ops.storage.roots import open_root
from mmgen.ops.tracking.stage_run import stage_run
from mmgen.ops.tracking.tracked import Tracked
from mmgen.progress import Progress, choose

if TYPE_CHECKING:
    from mmgen.training.workers import Workers

WAIT_SECONDS = 30.0
"""How long a stage waits for another process at the same output: one that was killed may still be ending."""

INTERRUPTED = 60
"""Exit code of a run that was stopped."""

_PLAIN = re.compile(r"[A-Za-z0-9_.,=+:; \n-]*")
_PATH = re.compile(r"[^\x00-\x1f{}$`\"\\]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A stage about to run in a component."""

    run: Run
    progress: Progress


@contextlib.contextmanager
def opened(stage: str, recipe: str, settings: str, root: str, data: str, *, events: str | None) -> Iterator[Job]:
    """Open the run that a component's parameters describe; an error inside the block is told to whoever watches.

    Args:
        settings: overrides, joined by `;` or line ends.
        root, data: a folder, or `s3://bucket/prefix`.
        events: file for progress and errors; None for plain lines on stderr.
    """
    progress = choose(events, sys.stderr)
    try:
        plain(recipe, settings, root, data)
        _check_places(root, data)
        run = open_run(recipe, split(settings), open_root(root), open_root(data))
        with _watched(stage, run, progress) as seen:
            yield Job(run=run, progress=seen)
    except MmgenError as error:
        progress.error(stage, f"stage {stage}: {error}", error.exit_code)
        raise
    except Exception as error:
        progress.error(stage, f"stage {stage}: a bug of mmgen, {type(error).__name__}: {error}", 1)
        raise
    except (KeyboardInterrupt, SystemExit):
        progress.error(stage, f"stage {stage}: stopped; run again to go on", INTERRUPTED)
        raise
    finally:
        progress.close()
        # The task's process ends soon: not collecting what MLflow and torch leave saves a second of each task.
        gc.freeze()


def split(settings: str) -> list[str]:
    """Settings from the one string that a pipeline parameter is.

    >>> split("training.steps=5; seed=1")
    ['training.steps=5', 'seed=1']
    """
    return [part.strip() for part in re.split(r"[;\n]", settings) if part.strip()]


def plain(recipe: str, settings: str, *folders: str) -> None:
    """Refuse characters that KFP or a shell could take for more than text.

    Raises:
        ConfigError: names the parameter and the character.
    """
    for name, text, allowed in (
        ("recipe", recipe, _PLAIN),
        ("settings", settings, _PLAIN),
        *(("folder", folder, _PATH) for folder in folders),
    ):
        good = allowed.match(text)
        end = good.end() if good else 0
        if end < len(text):
            raise ConfigError(f"{name} {text!r}: the character {text[end]!r} is not allowed; leave it out")


def _check_places(root: str, data: str) -> None:
    """In a pod, refuse a folder that only the pod would have.

    Raises:
        ConfigError: names the parameter and the way out.
    """
    for name, place in (("root", root), ("data", data)):
        if os.environ.get("KUBERNETES_SERVICE_HOST") and not place.startswith(SCHEME) and not Path(place).is_dir():
            raise ConfigError(
                f"{name} {place!r} is no folder of this pod; start the run again with {name} s3://bucket/prefix, or "
                "from a pipeline that mmgen publish has uploaded: its form is filled in"
            )


def validate(run: Run, progress: Progress, *, kfp_run: str = "") -> StageResult:
    """Check the data set against its expectations, and against the champion's data.

    Raises:
        DataError: an expectation is not met, and the page with all rows lies in `run.unfinished("validate")`; or the
            data have shifted too far.
    """
    from mmgen.ops.stages import drift
    from mmgen.ops.validation import checks

    result = _run(run, "validate", progress, kfp_run, lambda out, _: checks.validate(run.data_folder, run.recipe, out))
    drift.check(run)  # not part of the output: who is champion is not part of its key
    return result


def judge(run: Run, progress: Progress, *, kfp_run: str = "") -> StageResult:
    """Make the judge that the recipe asks for; one that was killed goes on from its newest checkpoint."""
    import importlib

    from mmgen.evaluation.config import JUDGES
    from mmgen.ops.storage.checkpoints import forget, mirrored

    module, key = importlib.import_module(JUDGES[run.recipe.judge.kind]), run.keys.stages["judge"]

    def fill(out: Path, _: Tracked) -> None:
        with mirrored(run.root, key, scratch(out)):
            module.train_judge(run.data_folder, run.recipe, out, scratch(out), progress)

    result = _run(run, "judge", progress, kfp_run, fill)
    if result.state == "ran":
        forget(run.root, key)
    return result


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
    from mmgen.ops.distributed import torchrun
    from mmgen.ops.registry.starting_weights import initial_model
    from mmgen.ops.storage.checkpoints import forget, mirrored
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
        result = _run(run, "train", progress, kfp_run, fill)
    finally:
        if not told:  # it was done already, or could not begin
            tell(None)
    if result.state == "ran":
        forget(run.root, key)
    return result


def evaluate(run: Run, progress: Progress, *, kfp_run: str = "") -> StageResult:
    """Score the trained model with the judge."""
    from mmgen.evaluation import evaluate as evaluation

    def fill(out: Path, _: Tracked) -> None:
        model, judge = run.sealed("train") / "model", run.sealed("judge")
        evaluation.evaluate(model, judge, run.data_folder, run.recipe, out, progress)

    return _run(run, "evaluate", progress, kfp_run, fill)


def score_for_gate(run: Run, progress: Progress) -> None:
    """Ask the champion, and both in further rounds, for every score that the gate will want.

    The gate decides where there is no torch: it finds these scores sealed.
    """
    if find_output(run, "gate") is None:
        with tempfile.TemporaryDirectory() as aside:
            _decide(run, progress, Path(aside))


def gate(run: Run, progress: Progress, *, kfp_run: str = "") -> StageResult:
    """Compare with the champion, scored again on this run's prompts; also writes `champion.json` when there is one."""
    return _run(run, "gate", progress, kfp_run, lambda out, _: _decide(run, progress, out))


def _decide(run: Run, progress: Progress, out: Path) -> None:
    from mmgen.ops.gate.gate import Champion, Evaluation, decide
    from mmgen.ops.gate.rules import read_rules, section
    from mmgen.ops.registry.registry import champion, model_name
    from mmgen.ops.stages.scores import scores_folder, scores_of

    def evaluation(model: Path, train_key: str) -> Evaluation:
        return lambda number: scores_of(run, model, train_key, progress, number)

    asked = read_rules(RULES, section(run.recipe))
    ours = evaluation(run.folder("train") / "model", run.keys.stages["train"])
    found = champion(run.root, model_name(run.recipe))
    if found is None:
        decide(ours, None, asked, out)
        return
    version, model = found
    theirs = evaluation(model, version.tags["mmgen.train_key"])
    decide(ours, Champion(version=version.version, scored=theirs), asked, out)
    scores = scores_folder(run, version.tags["mmgen.train_key"])
    if is_sealed(scores):
        write_json(out / "champion.json", {"version": version.version, "scores": scores.name})


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

    return _run(run, "register", progress, kfp_run, fill)


def report(run: Run, progress: Progress, *, kfp_run: str = "") -> StageResult:
    """Write `report.html`: everything about the run on one page."""
    from mmgen.evaluation.report.report import write_report
    from mmgen.ops.stages import drift

    def fill(out: Path, _: Tracked) -> None:
        folders = {stage: run.folder(stage) for stage in STAGES if stage != "report"}
        compared = run.folder("gate") / "champion.json"
        if compared.is_file():
            scores = read_json(compared)["scores"]
            sealed_output(run.root, "evaluate", scores)
            if (folder := run.root / "stages" / "evaluate" / scores).joinpath("metrics.json").is_file():
                folders["champion"] = folder  # else it could not be scored, and the verdict says why
        spent = ledger.cost(run).text()
        facts = {**run.facts("report"), "kfp_run": kfp_run, "cost": spent, "drift": drift.found(run)}
        write_report(run.recipe, run.data_folder, folders, out, facts=facts)

    return _run(run, "report", progress, kfp_run, fill)


JOBS: dict[str, Callable[..., StageResult]] = {
    "validate": validate,
    "judge": judge,
    "train": train,
    "evaluate": evaluate,
    "gate": gate,
    "register": register,
    "report": report,
}
"""The function of each stage, in order."""

BEFORE = {
    "validate": (),
    "judge": ("validate",),
    "train": ("validate",),
    "evaluate": ("validate", "judge", "train"),
}
"""Stages that can be run by themselves, and what has to be done before."""


def run_up_to(stage: str, run: Run, progress: Progress) -> StageResult:
    """Run `stage` and what it reads, each unless it is done already."""
    for each in (*BEFORE[stage], stage):
        with _watched(each, run, progress) as seen:
            result = JOBS[each](run, seen)
    return result


def _watched(stage: str, run: Run, progress: Progress) -> contextlib.AbstractContextManager[Progress]:
    """The progress of a stage, which ends the process when it stands still."""
    return watched(progress, run.recipe.limits.stall_seconds, lambda: ledger.end_open(run, stage, "stalled"))


def _run(
    run: Run, stage: str, progress: Progress, kfp_run: str, fill: Callable[[Path, Tracked], object]
) -> StageResult:
    """Make a stage's output with `fill`, recorded in MLflow, unless it is there already."""
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
