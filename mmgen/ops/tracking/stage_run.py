"""What MLflow is told of a run.

    experiment  mmgen/<recipe>
      run       one per run key: the recipe as params, the data set, the metrics; a run `MLFLOW_RUN_ID` is joined
        run     one per stage that really ran, with its curves, images, pages and how it ended; Kubeflow's MLflow
                plugin makes one for each task, which is taken then (`mmgen.ops.tracking.kubeflow_runs`)

The files of a stage come first and MLflow follows: everything goes through an outbox on disk, and a thread sends it
while the stage runs. A tracker that is dead, slow or refuses costs one warning, the work goes on, and what is left
in the outbox is sent by a later stage or by `mmgen track flush`. Only registration cannot do without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mmgen.errors import StorageError, TrackingError
from mmgen.files import read_json
from mmgen.ops.runs.cache import scratch
from mmgen.ops.runs.keys import STAGES, flatten
from mmgen.ops.runs.ledger import cost
from mmgen.ops.storage.roots import address
from mmgen.ops.tracking import outbox
from mmgen.ops.tracking.client import redacted, tracking_uri
from mmgen.ops.tracking.delivery import plain_files
from mmgen.ops.tracking.kubeflow_runs import told
from mmgen.ops.tracking.live_delivery import Follower
from mmgen.ops.tracking.outbox import Entry
from mmgen.ops.tracking.tracked import Tracked, model_sha256
from mmgen.recipes import describe

if TYPE_CHECKING:
    from mmgen.ops.runs.run import Run

REGISTER_SECONDS = 60.0
"""How long registration waits for its runs in MLflow, without which it cannot begin."""


@contextlib.contextmanager
def stage_run(run: Run, stage: str, out: Path, *, kfp_run_id: str = "") -> Iterator[Tracked]:
    """Record the stage that runs inside the block: its `metrics.jsonl` as it grows, all else when the block ends.

    The stage's lock must be held: an earlier try that MLflow still shows as running is then known to be dead.
    The run ends as FINISHED, FAILED (any error) or KILLED (Ctrl-C, SIGTERM). The stage never waits for the tracker
    but at its end, some seconds; what is not sent by then stays in the outbox, with one warning on stderr.

    Raises:
        TrackingError: the stage is `register`, and the tracker does not answer.
    """
    metrics = scratch(out) / "metrics.jsonl"
    _bury_earlier(run.root, run.keys.stages[stage])
    entry, hold = outbox.create(run.root, stage, _facts(run, stage, metrics, kfp_run_id))
    tracked = Tracked()
    follower = Follower(run.root, entry, hold, metrics, tracked)
    follower.start()
    status = "FAILED"
    try:
        with _sigterm():
            if stage == "register":
                _wait_for_runs(follower, tracked)
            yield tracked
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        with _following():
            if spent := cost(run).figures():
                entry.add_scores({f"cost.{what}": value for what, value in spent.items()})
            _close(entry, follower, out, status)
            if not follower.end():
                problem = follower.problem or f"MLflow at {redacted(tracking_uri(run.root))} has not answered yet"
                raise TrackingError(f"{problem}; what it was to be told waits in {str(entry.folder)!r}")


def _facts(run: Run, stage: str, metrics: Path, kfp_run_id: str) -> dict[str, object]:
    """All that is needed to make the stage's runs in MLflow at any later time."""
    return {
        "recipe": run.recipe.name,
        "stage": stage,
        "key": run.keys.stages[stage],
        "last": stage == STAGES[-1],
        **told(run.root),
        "tags": run_tags(run, kfp_run_id),
        "stage_keys": json.dumps(sorted(run.keys.stages.values())),
        "params": {name: str(value) for name, value in flatten(describe(run.recipe)).items()},
        "data": {
            "name": run.recipe.data.name,
            "digest": run.data_version,
            "source": json.dumps({"uri": f"{address(run.data_root)}/{run.recipe.data.name}"}),
        },
        "metrics": os.path.relpath(metrics, run.root),
    }


def _bury_earlier(root: Path, key: str) -> None:
    """End the entries of earlier tries of this stage before this one changes the files that they are made from."""
    for folder in outbox.waiting(root):
        with contextlib.suppress(StorageError), outbox.held(folder) as entry:
            if entry.end is None and entry.facts["key"] == key:
                outbox.bury(entry)


def _wait_for_runs(follower: Follower, tracked: Tracked) -> None:
    follower.known.wait(REGISTER_SECONDS)
    if not tracked.run_id:
        raise TrackingError(follower.problem or f"MLflow has not answered for {REGISTER_SECONDS:.0f} s; run again")


def _close(entry: Entry, follower: Follower, out: Path, status: str) -> None:
    """Put what the stage left into its entry: scores, the rest of the curve, images by step, pages."""
    follower.gather()
    entry.gather(out / "metrics.jsonl", whole=True)
    if (out / "metrics.json").is_file():
        entry.add_scores(_scores(out / "metrics.json"))
    for pattern in ("samples/step-*.png", "*.png", "*.html", "*.md", "*.json"):
        for path in plain_files(out, pattern):
            kept = entry.folder / "files" / path.relative_to(out)
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, kept)
    sha256 = model_sha256(out / "model") if (out / "model").is_dir() else ""
    entry.close(status, int(time.time() * 1000), model_sha256=sha256)


def _scores(path: Path) -> dict[str, float]:
    scores = {}
    for name, entry in read_json(path).items():
        scores[name] = entry.get("value")
        scores |= {f"{name}_{part}": entry.get(part) for part in ("low", "high", "n")}
    return scores


@contextlib.contextmanager
def _following() -> Iterator[None]:
    try:
        yield
    except (TrackingError, StorageError, OSError) as error:
        print(f"mmgen: warning: {error} (the work goes on)", file=sys.stderr)


@contextlib.contextmanager
def _sigterm() -> Iterator[None]:
    """SIGTERM ends the block as an exception, so that the run can be closed; exit status 143 as usual."""

    def leave(number: int, frame: types.FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # only the main thread gets signals
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_tags(run: Run, kfp_run_id: str) -> dict[str, str]:
    """Where a run comes from, as tags of MLflow runs and model versions."""
    tags = {
        "mmgen.run_key": run.keys.run_key,
        "mmgen.git_commit": run.git_commit,
        "mmgen.git_dirty": str(run.git_dirty).lower(),
        "mmgen.data_version": run.data_version,
        # With these one search shows all families on one data set: docs/comparing.md.
        "mmgen.recipe": run.recipe.name,
        "mmgen.data_name": run.recipe.data.name,
        "mmgen.task": run.recipe.evaluation.task,
        "mmgen.family": run.recipe.model.family,
    }
    return {**tags, "mmgen.kfp_run_id": kfp_run_id} if kfp_run_id else tags
