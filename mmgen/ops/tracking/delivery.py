"""From the outbox to MLflow: each call may be cut off anywhere and repeated, and nothing arrives twice.

MLflow's store takes a metric with the same name, time, step and value once; since an entry's rows keep their times,
sending them again after an unclear answer adds nothing. Runs are found again by the entry's own tag
(`mmgen.ops.tracking.mlflow_runs`), images by what is there.

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
from mmgen.ops.tracking import outbox
from mmgen.ops.tracking.client import connected
from mmgen.ops.tracking.concurrent_writes import again
from mmgen.ops.tracking.mlflow_runs import ATTEMPT, HEARTBEAT, announce, settle
from mmgen.ops.tracking.outbox import Entry

if TYPE_CHECKING:
    from mlflow import MlflowClient

ROWS = 100
"""Rows between two notes of what has arrived."""
BATCH = 1000
"""Most metrics that MLflow takes in one request; params: 100."""
FAILURES = 3


def _outdated(client: MlflowClient, entry: Entry) -> bool:
    """Whether a later try has gone on in the same run of Kubeflow's, with all that this one knew."""
    run_id = entry.sent["run_id"]
    return run_id in entry.sent["not_ours"] and client.get_run(run_id).data.tags.get(ATTEMPT) != entry.facts["attempt"]


def send_rows(client: MlflowClient, entry: Entry) -> Iterator[None]:
    """Log the rows that the tracker does not have yet."""
    sent = entry.sent
    rows = entry.rows(sent["rows"])
    there = sent["there"]
    for start in range(0, len(rows), ROWS):
        some = rows[start : start + ROWS]
        for run_id, told in ((sent["run_id"], some), (sent["parent_id"], [row for row in some if row.get("scores")])):
            metrics = _metrics(told, there)
            for first in range(0, len(metrics), BATCH):
                client.log_batch(run_id, metrics=metrics[first : first + BATCH])
                yield
        entry.remember(rows=sent["rows"] + start + len(some))


def beat(client: MlflowClient, entry: Entry) -> Iterator[None]:
    """Say that the stage is alive."""
    for run_id in _ours(entry):
        again(client.set_tag, run_id, HEARTBEAT, str(int(time.time())))
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
            again(client.set_tag, told, "mmgen.model_sha256", end["model_sha256"])
            yield
    ours = _ours(entry)
    if run_id in ours:
        client.set_terminated(run_id, end["status"], end_time=end["time"])
        yield
    if sent["parent_id"] in ours and (end["status"] != "FINISHED" or entry.facts["last"]):
        settle(client, sent["parent_id"], end["status"], end["time"], live=live)
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
                if entry.end is not None and entry.sent["run_id"] and _outdated(client, entry):
                    entry.remove()
                elif entry.end is not None:
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
    """Runs of an entry that we made, and have to end."""
    sent = entry.sent
    return [run_id for run_id in (sent["run_id"], sent["parent_id"]) if run_id not in sent["not_ours"]]


def _metrics(rows: list[dict[str, Any]], there: dict[str, int]) -> list[Any]:
    """What rows say beyond the steps that are `there`; scores have no steps, and the newest counts."""
    from mlflow.entities import Metric

    return [
        Metric(name, value, row["time"], row["step"])
        for row in rows
        for name, value in sorted(row["values"].items())
        if row.get("scores") or row["step"] > there.get(name, -1)
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
