"""Retraining by CI: fetch the data, check whether anything relevant changed, validate, train, evaluate, comment.

Nothing is decided by what a commit touched: a run whose stages are all sealed under its keys has nothing to do, any
other one runs. Two CI jobs of one commit wait for each other by a lock at the root, so the second finds it done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mmgen import recipes
from mmgen.errors import DataError, MmgenError
from mmgen.ops.runs.cache import flaw
from mmgen.ops.runs.keys import STAGES
from mmgen.ops.runs.run import Run, open_run
from mmgen.ops.storage.locks import locked
from mmgen.ops.validation.data_pin import has_remote, pull
from mmgen.progress import Progress
from pipelines.cluster import submit as submitting
from pipelines.cluster.images import Images, images_of
from pipelines.local.run import States, run_pipeline
from pipelines.local.summary import summarise
from pipelines.terminal import KEPT_CHAMPION

WAIT_SECONDS = 6 * 3600.0
"""How long a job waits for another one of the same run: as long as GitHub lets a job run."""
DATA_REFUSED = DataError.exit_code

State = Literal["trained", "nothing", "refused", "failed"]
SHOWN = {"RUNNING": "running", "SUCCEEDED": "ran", "FAILED": "failed"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The result of a retraining."""

    recipe: str
    state: State
    exit_code: int
    seconds: float
    run: Run | None = field(default=None, repr=False)
    """None when it failed before there was one."""
    summary: dict[str, Any] | None = None
    """As of `mmgen run --json`; None when it was stopped, or its root cannot be seen from here."""
    decision: str | None = None
    """The gate's; None when it did not come to that, or cannot be seen from here."""
    model: dict[str, Any] | None = None
    """Name, version and alias, where they are known."""
    problem: str = ""
    """One line, when it was stopped."""
    broken: tuple[dict[str, Any], ...] = ()
    """Expectations that the data did not meet."""
    link: str = ""
    """The run on the cluster."""

    @property
    def awaits(self) -> bool:
        """Whether the gate would promote the model and a person still has to approve."""
        return self.decision == "promote" and self.model is not None and self.model["alias"] == "challenger"


def retrain(
    recipe: str, settings: Sequence[str], root: Path, data_root: Path, progress: Progress, *, promote: bool
) -> Outcome:
    """Retrain if anything that matters has changed: on the cluster of KFP_ENDPOINT, else on this machine.

    An error of the run is an outcome as well, so that the comment can report it.
    """
    began = time.monotonic()
    run: Run | None = None
    broken: list[dict[str, Any]] = []
    try:
        fetch(recipe, settings, data_root)
        cluster = os.environ.get("KFP_ENDPOINT")  # CI sets it to nothing where no cluster is configured
        images = images_of(os.environ.get("MMGEN_IMAGES", "").split()) if cluster else None
        run = open_run(recipe, settings, root, data_root)
        if _done(run):
            return _told(run, dict.fromkeys(STAGES, ("cached", 0.0)), began, "nothing")
        with locked(root / "retrain" / run.keys.run_key, WAIT_SECONDS):
            if _done(run):
                return _told(run, dict.fromkeys(STAGES, ("cached", 0.0)), began, "nothing")
            if images is not None:
                return _on_cluster(run, progress, promote, images, began)
            states = run_pipeline(run, progress, promote=promote)
            return _told(run, states, began, "trained")
    except MmgenError as error:
        if run is not None and error.exit_code == DATA_REFUSED:
            broken = submitting.refused(run)
        return Outcome(
            recipe=recipe,
            state="refused" if error.exit_code == DATA_REFUSED else "failed",
            exit_code=error.exit_code,
            seconds=round(time.monotonic() - began, 2),
            run=run,
            problem=str(error),
            broken=tuple(broken),
        )


def fetch(recipe: str, settings: Sequence[str], data_root: Path) -> None:
    """Bring the recipe's data set to the version that the commit names.

    Raises:
        StorageError: it cannot be had.
    """
    from mmgen.data.sources.build import build

    name = recipes.get(recipe, settings).data.name
    if not (data_root / name).is_dir() and not has_remote():
        build(name, data_root)  # a fresh clone: its packages are pinned
    pull(data_root / name)


def _done(run: Run) -> bool:
    return all(flaw(run.folder(stage)) is None for stage in STAGES)


def _on_cluster(run: Run, progress: Progress, promote: bool, images: Images, began: float) -> Outcome:
    """Validate here, so that bad data start no pod, then submit and wait."""
    from mmgen.ops.stages.table import run_up_to
    from pipelines.cluster.client import connect

    cluster = connect()
    run_up_to("validate", run, progress)
    request = submitting.request(run, promote, images, os.environ.get("MMGEN_PROFILE") or submitting.PROFILE)
    done = submitting.submit(cluster, request, if_new=True, claim=submitting.claims(run.root))
    ended = done.run
    if ended is not None:
        ended = submitting.follow(
            cluster, ended.run_id, lambda stage, state: progress.stage(stage, SHOWN.get(state, "waiting"))
        )
        submitting.check_ended(ended, request)
    states = {stage: (SHOWN.get(state, "waiting"), 0.0) for stage, state in (ended.stages if ended else {}).items()}
    link = ended.link if ended else ""
    if _done(run):
        return _told(run, states, began, "trained" if done.started else "nothing", link)
    version = submitting.registered(run)
    decision = version.tags.get("mmgen.verdict", "").split(",")[0] if version else None
    alias = version.aliases[0] if version and version.aliases else None
    return Outcome(
        recipe=run.recipe.name,
        state="trained" if done.started else "nothing",
        exit_code=KEPT_CHAMPION if decision == "keep" else 0,
        seconds=round(time.monotonic() - began, 2),
        run=run,
        decision=decision,
        model={"name": version.name, "version": version.version, "alias": alias} if version else None,
        link=link,
    )


def _told(run: Run, states: States, began: float, state: State, link: str = "") -> Outcome:
    summary = summarise(run, states, began)
    decision = summary["gate"]["decision"]
    return Outcome(
        recipe=run.recipe.name,
        state=state,
        exit_code=KEPT_CHAMPION if decision == "keep" else 0,
        seconds=summary["seconds"],
        run=run,
        summary=summary,
        decision=decision,
        model=summary["model"],
        link=link,
    )
