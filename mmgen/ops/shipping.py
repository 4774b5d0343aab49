"""From the outbox to MLflow: each call may be cut off anywhere and repeated, and nothing arrives twice.

MLflow's store takes a metric with the same name, time, step and value once; since an entry's rows keep their times,
sending them again after an unclear answer adds nothing. Runs are found again by the entry's own tag, images and
params by what is there.

The functions are generators that yield after every answer of the tracker, so that whoever runs them can tell a slow
tracker from one that hangs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.errors import StorageError, TrackingError
from mmgen.files import digest
from mmgen.ops import outbox
from mmgen.ops.mlflow_client import SQLITE, connected
from mmgen.ops.outbox import Entry

if TYPE_CHECKING:
    from mlflow import MlflowClient

ATTEMPT = "mmgen.attempt"
"""Tag of a run: the entry that it was made for."""
HEARTBEAT = "mmgen.heartbeat"
"""Tag of a run that we made and that runs: seconds since 1970 when its holder last said that it lives."""
SETTLED_AT = "mmgen.settled_at"
"""Tag of a parent: when the stage began or ended that set its status; an older one, sent late, does not undo it."""
STAGE_KEYS = "mmgen.stage_keys"
"""Tag of a parent: keys of all its stages, so that `mmgen gc` keeps those of an open run."""
CONFLICT = "mmgen.param_conflict"
"""Tag of a run: params that it had with another value, and kept."""

ROWS = 100
"""Rows between two notes of what has arrived."""
BATCH = 1000
"""Most metrics that MLflow takes in one request; params: 100."""
FAILURES = 3
PARAM_CHARACTERS = 6000
"""Longest value of a param that MLflow keeps."""


def announce(client: MlflowClient, uri: str, root: Path, entry: Entry, *, live: bool) -> Iterator[None]:
    """Make or find the parent and the child run of an entry, and note their ids in it.

    Args:
        live: the stage runs now, with its lock held: earlier tries that still show as running are dead.
    """
    if entry.sent["run_id"]:
        return
    facts = entry.facts
    if facts["joined"]:
        parent = client.get_run(facts["joined"])
    else:
        experiment = _experiment(client, uri, root, facts["recipe"])
        yield
        parent = _parent(client, experiment, facts)
    yield
    parent_id, experiment_id = str(parent.info.run_id), str(parent.info.experiment_id)
    for name, value in {**facts["tags"], STAGE_KEYS: facts["stage_keys"]}.items():
        if (
            name not in parent.data.tags
        ):  # a stage that runs again, from a later commit, does not change where it is from
            client.set_tag(parent_id, name, value)
            yield
    if live and not facts["joined"]:
        _settle(client, parent_id, "RUNNING", facts["began"], live=True)
        yield
    yield from _log_inputs(client, parent, facts)
    tries = _find(client, experiment_id, facts, facts["stage"])
    yield
    if live:
        for old in tries:
            if old.info.status == "RUNNING" and old.info.start_time < facts["began"]:
                client.set_terminated(old.info.run_id, "KILLED")
                yield
    mine = [run.info.run_id for run in tries if run.data.tags.get(ATTEMPT) == facts["attempt"]]
    run_id = mine[0] if mine else _child(client, experiment_id, parent_id, facts)
    yield
    entry.remember(experiment_id=experiment_id, parent_id=parent_id, run_id=str(run_id))


def send_rows(client: MlflowClient, entry: Entry) -> Iterator[None]:
    """Log the rows that the tracker does not have yet."""
    sent = entry.sent
    rows = entry.rows(sent["rows"])
    for start in range(0, len(rows), ROWS):
        some = rows[start : start + ROWS]
        for run_id, told in ((sent["run_id"], some), (sent["parent_id"], [row for row in some if row.get("scores")])):
            metrics = _metrics(told)
            for first in range(0, len(metrics), BATCH):
                client.log_batch(run_id, metrics=metrics[first : first + BATCH])
                yield
        entry.remember(rows=sent["rows"] + start + len(some))


def beat(client: MlflowClient, entry: Entry) -> Iterator[None]:
    """Say that the stage is alive."""
    for run_id in _ours(entry):
        client.set_tag(run_id, HEARTBEAT, str(int(time.time())))
        yield


def finish(client: MlflowClient, entry: Entry, *, live: bool) -> Iterator[None]:
    """Log the files, end the runs, remove the entry.

    Args:
        live: the stage has ended just now, in this process.
    """
    end, sent = entry.end, entry.sent
    assert end is not None  # only entries that were closed get here
    run_id = sent["run_id"]
    yield from _log_files(client, run_id, entry.folder / "files")
    if end["model_sha256"]:
        for told in (run_id, sent["parent_id"]):
            client.set_tag(told, "mmgen.model_sha256", end["model_sha256"])
            yield
    client.set_terminated(run_id, end["status"], end_time=end["time"])
    yield
    facts = entry.facts
    if not facts["joined"] and (end["status"] != "FINISHED" or facts["last"]):
        _settle(client, sent["parent_id"], end["status"], end["time"], live=live)
        yield
    entry.remove()


def send_waiting(uri: str, root: Path) -> Iterator[str]:
    """Send every entry that no live process holds, oldest first; those of dead processes end as KILLED.

    Yields:
        The empty text after every answer, and what was wrong with an entry that the tracker does not take. A few
        of these are passed over, but a tracker that fails for all is not asked for each.
    """
    failures = 0
    for folder in outbox.waiting(root):
        try:
            with contextlib.suppress(StorageError), outbox.held(folder) as entry, connected(uri) as client:
                if outbox.orphaned(entry):
                    outbox.bury(entry)
                if entry.end is not None:
                    for send in (
                        announce(client, uri, root, entry, live=False),
                        send_rows(client, entry),
                        finish(client, entry, live=False),
                    ):
                        for _ in send:
                            yield ""
        except TrackingError as error:
            yield str(error)
            failures += 1
            if failures == FAILURES:
                return


def _ours(entry: Entry) -> list[str]:
    """Runs of an entry that we made: the parent is Kubeflow's when we joined it."""
    sent = entry.sent
    return [sent["run_id"]] if entry.facts["joined"] else [sent["run_id"], sent["parent_id"]]


def _settle(client: MlflowClient, parent_id: str, status: str, when: int, *, live: bool) -> None:
    """Set the status of a parent; a stage that is sent late does not undo what a later one has set."""
    if not live and when < int(client.get_run(parent_id).data.tags.get(SETTLED_AT, 0)):
        return
    client.set_tag(parent_id, SETTLED_AT, str(when))
    if status == "RUNNING":
        client.update_run(parent_id, status=status)
    else:
        client.set_terminated(parent_id, status, end_time=when)


def _experiment(client: MlflowClient, uri: str, root: Path, recipe: str) -> str:
    from mlflow.exceptions import MlflowException

    name = f"mmgen/{recipe}"
    local = (root / "mlartifacts" / recipe).resolve().as_uri() if uri.startswith(SQLITE) else None
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=local))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another stage made it in the meantime
    return str(found.experiment_id)


def _find(client: MlflowClient, experiment: str, facts: dict[str, Any], stage: str) -> list[Any]:
    query = f"tags.`mmgen.run_key` = '{facts['tags']['mmgen.run_key']}' and tags.`mmgen.stage` = '{stage}'"
    runs = client.search_runs([experiment], query, order_by=["attributes.start_time ASC"])
    return sorted(runs, key=lambda found: (found.info.start_time, found.info.run_id))


def _parent(client: MlflowClient, experiment: str, facts: dict[str, Any]) -> Any:
    """The run of the whole pipeline, made when it is not there."""
    found = _find(client, experiment, facts, "all")
    if not found:
        tags = {**facts["tags"], "mmgen.stage": "all", HEARTBEAT: str(int(time.time()))}
        name = f"{facts['recipe']} {facts['tags']['mmgen.run_key']}"
        ours = client.create_run(experiment, run_name=name, tags=tags, start_time=facts["began"])
        found = _find(client, experiment, facts, "all")
        if found[0].info.run_id != ours.info.run_id:  # another stage, in another pod, was first
            client.delete_run(ours.info.run_id)
    return found[0]


def _child(client: MlflowClient, experiment: str, parent_id: str, facts: dict[str, Any]) -> str:
    tags = {
        **facts["tags"],
        "mmgen.stage": facts["stage"],
        "mmgen.key": facts["key"],
        "mlflow.parentRunId": parent_id,
        ATTEMPT: facts["attempt"],
        HEARTBEAT: str(int(time.time())),
    }
    run = client.create_run(experiment, run_name=facts["stage"], tags=tags, start_time=facts["began"])
    return str(run.info.run_id)


def _log_inputs(client: MlflowClient, parent: Any, facts: dict[str, Any]) -> Iterator[None]:
    """The recipe as params and the data set, with DVC's hash as its digest; what is there already stays."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    run_id, there = parent.info.run_id, parent.data.params
    params = {name: _cut(value) for name, value in facts["params"].items()}
    new = [Param(name, value) for name, value in params.items() if name not in there]
    for start in range(0, len(new), 100):
        client.log_batch(run_id, params=new[start : start + 100])
        yield
    if other := [name for name, value in params.items() if there.get(name, value) != value]:
        client.set_tag(run_id, CONFLICT, ", ".join(other)[:PARAM_CHARACTERS])
        yield
    data = Dataset(**facts["data"], source_type="local")
    if data.digest not in {found.dataset.digest for found in parent.inputs.dataset_inputs}:
        client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
        yield


def _cut(value: str) -> str:
    """A value that MLflow keeps as it is; a longer one by its beginning and the sha256 of the whole."""
    mark = f" ... sha256 {digest(value)}"
    return value if len(value) <= PARAM_CHARACTERS else value[: PARAM_CHARACTERS - len(mark)] + mark


def _metrics(rows: list[dict[str, Any]]) -> list[Any]:
    from mlflow.entities import Metric

    return [
        Metric(name, value, row["time"], row["step"]) for row in rows for name, value in sorted(row["values"].items())
    ]


def _log_files(client: MlflowClient, run_id: str, folder: Path) -> Iterator[None]:
    """Images by step, pages; an image that is there is not logged again, a page replaces itself."""
    images = [(path, "samples", int(path.stem.removeprefix("step-"))) for path in plain_files(folder, "samples/*.png")]
    images += [(path, path.stem, 0) for path in plain_files(folder, "*.png")]
    if images:
        # MLflow writes the small picture last, so that it stands for both.
        names = [Path(entry.path).name for entry in client.list_artifacts(run_id, "images")]
        there = {tuple(name.split("+")[:3:2]) for name in names if name.endswith(".webp")}
        yield
        for path, key, step in images:
            if (key, str(step)) not in there:
                _log_image(client, run_id, path, key, step)
                yield
    for ending in ("html", "md", "json"):
        for path in plain_files(folder, f"*.{ending}"):
            client.log_artifact(run_id, str(path))
            yield


def _log_image(client: MlflowClient, run_id: str, path: Path, key: str, step: int) -> None:
    from PIL import Image

    with Image.open(path) as image:
        client.log_image(run_id, image.convert("RGB"), key=key, step=step)


def plain_files(folder: Path, pattern: str) -> list[Path]:
    """Plain files only: MLflow would follow a link to wherever it leads."""
    return [path for path in sorted(folder.glob(pattern)) if path.is_file() and not path.is_symlink()]
