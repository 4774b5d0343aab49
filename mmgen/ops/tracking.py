"""What MLflow is told of a run.

    experiment  mmgen/<recipe>
      run       one per run key: the recipe as params, the data set, the metrics; joins `MLFLOW_RUN_ID` when it is
                set, as Kubeflow does
        run     one per stage that really ran, with its curves, images, pages and how it ended

The files of a stage come first and MLflow follows: a tracker that is dead or refuses costs one warning, and the
work goes on. Only registration cannot do without it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.errors import TrackingError
from mmgen.files import SEAL, digest, read_json, sha256_file
from mmgen.ops.keys import STAGES, flatten
from mmgen.ops.mlflow_client import SQLITE, connected, tracking_uri
from mmgen.recipes import describe

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mmgen.ops.stages import Run

BATCH = 1000
"""Most metrics that MLflow takes in one request; params: 100."""


def model_sha256(model: Path) -> str:
    """One sha256 for all files of a model folder, names included, a seal of its own left out."""
    files = [path for path in _files(model, "**/*") if path.name != SEAL]
    return digest({path.relative_to(model).as_posix(): sha256_file(path) for path in files})


class Tracked:
    """The two MLflow runs of a stage in progress; their ids are empty when the tracker is dead."""

    def __init__(self) -> None:
        self.experiment_id = ""
        self.parent_id = ""
        self.run_id = ""


@contextlib.contextmanager
def stage_run(run: Run, stage: str, out: Path, *, kfp_run_id: str = "") -> Iterator[Tracked]:
    """Record the stage that runs inside the block; whatever it left in `out` is logged when the block ends.

    The stage's lock must be held: an earlier try that MLflow still shows as running is then known to be dead.
    The run ends as FINISHED, FAILED (any error) or KILLED (Ctrl-C, SIGTERM). A tracker that fails is given up
    for the rest of the stage, with one warning on stderr.
    """
    tracked = Tracked()
    uri = tracking_uri(run.root)
    with _following(), connected(uri) as client:
        tracked.parent_id, tracked.experiment_id = _parent(client, uri, run, kfp_run_id)
        tracked.run_id = _child(client, run, stage, tracked, kfp_run_id)
    status = "FAILED"
    try:
        with _sigterm():
            yield tracked
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        if tracked.run_id:
            with _following(), connected(uri) as client:
                try:
                    _log_folder(client, tracked, out)
                finally:
                    client.set_terminated(tracked.run_id, status)
                    joined = tracked.parent_id == os.environ.get("MLFLOW_RUN_ID")
                    if not joined and (status != "FINISHED" or stage == STAGES[-1]):
                        client.set_terminated(tracked.parent_id, status)


@contextlib.contextmanager
def _following() -> Iterator[None]:
    try:
        yield
    except TrackingError as error:
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


def _parent(client: MlflowClient, uri: str, run: Run, kfp_run_id: str) -> tuple[str, str]:
    """Id and experiment of the run of the whole pipeline, made when it is not there."""
    stage_keys = json.dumps(sorted(run.keys.stages.values()))
    tags = {**run_tags(run, kfp_run_id), "mmgen.stage": "all", "mmgen.stage_keys": stage_keys}
    if joined := os.environ.get("MLFLOW_RUN_ID"):
        parent = client.get_run(joined)
    else:
        experiment = _experiment(client, uri, run)
        found = _find(client, experiment, run, "all")
        if not found:
            name = f"{run.recipe.name} {run.keys.run_key}"
            ours = client.create_run(experiment, run_name=name, tags=tags)
            found = _find(client, experiment, run, "all")
            if found[0].info.run_id != ours.info.run_id:  # another stage, in another pod, was first
                client.delete_run(ours.info.run_id)
        parent = found[0]
        client.update_run(parent.info.run_id, status="RUNNING")
    parent_id = str(parent.info.run_id)
    for (
        name,
        value,
    ) in tags.items():  # a rerun of one stage, from a later commit say, does not change where the run is from
        if name not in parent.data.tags:
            client.set_tag(parent_id, name, value)
    _log_inputs(client, parent_id, run)
    return parent_id, str(parent.info.experiment_id)


def _experiment(client: MlflowClient, uri: str, run: Run) -> str:
    from mlflow.exceptions import MlflowException

    name = f"mmgen/{run.recipe.name}"
    local = (run.root / "mlartifacts" / run.recipe.name).resolve().as_uri() if uri.startswith(SQLITE) else None
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=local))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another stage made it in the meantime
    return str(found.experiment_id)


def _find(client: MlflowClient, experiment: str, run: Run, stage: str) -> list[Any]:
    query = f"tags.`mmgen.run_key` = '{run.keys.run_key}' and tags.`mmgen.stage` = '{stage}'"
    runs = client.search_runs([experiment], query, order_by=["attributes.start_time ASC"])
    return sorted(runs, key=lambda found: (found.info.start_time, found.info.run_id))


def _child(client: MlflowClient, run: Run, stage: str, tracked: Tracked, kfp_run_id: str) -> str:
    for old in _find(client, tracked.experiment_id, run, stage):
        if old.info.status == "RUNNING":
            client.set_terminated(old.info.run_id, "KILLED")
    tags = {
        **run_tags(run, kfp_run_id),
        "mmgen.stage": stage,
        "mmgen.key": run.keys.stages[stage],
        "mlflow.parentRunId": tracked.parent_id,
    }
    child = client.create_run(tracked.experiment_id, run_name=stage, tags=tags)
    return str(child.info.run_id)


def run_tags(run: Run, kfp_run_id: str) -> dict[str, str]:
    """Where a run comes from, as tags of MLflow runs and model versions."""
    tags = {
        "mmgen.run_key": run.keys.run_key,
        "mmgen.git_commit": run.git_commit,
        "mmgen.git_dirty": str(run.git_dirty).lower(),
        "mmgen.data_version": run.data_version,
    }
    return {**tags, "mmgen.kfp_run_id": kfp_run_id} if kfp_run_id else tags


def _log_inputs(client: MlflowClient, run_id: str, run: Run) -> None:
    """The recipe as params and the data set, with DVC's hash as its digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    params = [Param(name, str(value)) for name, value in flatten(describe(run.recipe)).items()]
    for start in range(0, len(params), 100):
        client.log_batch(run_id, params=params[start : start + 100])
    source = json.dumps({"uri": run.data_folder.as_posix()})
    data = Dataset(name=run.recipe.data.name, digest=run.data_version, source_type="local", source=source)
    client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])


def _log_folder(client: MlflowClient, tracked: Tracked, out: Path) -> None:
    """Log what a stage left: scores, curve, images by step, pages, the identity of its model."""
    if (out / "metrics.json").is_file():
        for run_id in (tracked.run_id, tracked.parent_id):  # the parents are what people compare
            _log_batches(client, run_id, _scores(out / "metrics.json"))
    if (out / "metrics.jsonl").is_file():
        _log_batches(client, tracked.run_id, _curve(out / "metrics.jsonl"))
    for path in _files(out, "samples/step-*.png"):
        _log_image(client, tracked.run_id, path, "samples", int(path.stem.removeprefix("step-")))
    for path in _files(out, "*.png"):
        _log_image(client, tracked.run_id, path, path.stem, 0)
    for path in [file for ending in ("html", "md", "json") for file in _files(out, f"*.{ending}")]:
        client.log_artifact(tracked.run_id, str(path))
    if (out / "model").is_dir():
        for run_id in (tracked.run_id, tracked.parent_id):
            client.set_tag(run_id, "mmgen.model_sha256", model_sha256(out / "model"))


def _log_batches(client: MlflowClient, run_id: str, rows: Iterator[tuple[str, Any, int]]) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    metrics = [
        Metric(name, float(value), now, step)
        for name, value, step in rows
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    ]
    for start in range(0, len(metrics), BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + BATCH])


def _scores(path: Path) -> Iterator[tuple[str, Any, int]]:
    for name, entry in read_json(path).items():
        yield name, entry.get("value"), 0
        for part in ("low", "high", "n"):
            yield f"{name}_{part}", entry.get(part), 0


def _curve(path: Path) -> Iterator[tuple[str, Any, int]]:
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # a killed run may have cut the last line short
            continue
        yield from ((name, value, int(row["step"])) for name, value in row.items() if name != "step")


def _log_image(client: MlflowClient, run_id: str, path: Path, key: str, step: int) -> None:
    from PIL import Image

    with Image.open(path) as image:
        client.log_image(run_id, image.convert("RGB"), key=key, step=step)


def _files(folder: Path, pattern: str) -> list[Path]:
    """Plain files only: MLflow would follow a link to wherever it leads."""
    return [path for path in sorted(folder.glob(pattern)) if path.is_file() and not path.is_symlink()]
