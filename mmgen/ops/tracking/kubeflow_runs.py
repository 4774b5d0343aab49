"""Runs in MLflow that Kubeflow's MLflow plugin makes, and how ours and they belong together.

    Kubeflow's experiment               ours: mmgen/<recipe>
      root run   one a KFP run    <-->    run   one per run key
        task run   one a task               run   one per stage; with the plugin it is the task's run instead

The plugin (Kubeflow Pipelines 2.17) makes the root run when a run is created and ends it with the run; its driver makes
a task's run, its launcher ends it. Pods are told of them by

    KFP_MLFLOW_CONFIG                         always: address of its server, ids of root run and experiment
    MLFLOW_RUN_ID, MLFLOW_TRACKING_URI, ...   where its setting `injectUserEnvVars` is on: the task's run

Whether its server is ours cannot be told by addresses, since a service has several names: it is ours when ours knows
the run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.ops.tracking.client import bare, same_address, tracking_uri
from mmgen.ops.tracking.concurrent_writes import again

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

NESTED_IN = "mlflow.parentRunId"
OF_RUN, URL = "kfp.pipeline_run_id", "kfp.pipeline_run_url"
"""Tags of a root run: id of the KFP run, and the address of its page."""
OURS = "mmgen.run_id"
"""Tag of a root run and of a task's run: our run of the whole pipeline."""
ROOT, TASK, SERVER = "kfp.mlflow_root_run_id", "kfp.mlflow_run_id", "kfp.mlflow_tracking_uri"
"""Tags of our runs: the plugin's, and where they are when another server has them."""
NOTE = "mlflow.note.content"
"""Tag that MLflow shows as the description of a run, with links that can be clicked."""
BEGINNING = "Kubeflow run "
"""Of the descriptions that are ours to renew."""
DEEPEST = 5
"""Most runs above a task's: Kubeflow nests loops."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Theirs:
    """The runs that others have made for us, where our server has them."""

    parent: Run | None = None
    """A run to join as the run of the whole pipeline."""
    task: Run | None = None
    """The run of the task that does this stage."""
    root: Run | None = None
    """The root run of Kubeflow's run."""


def told(root: Path) -> dict[str, str]:
    """What the environment says of such runs: ids `joined` (MLFLOW_RUN_ID) and `kfp_root`, and `elsewhere`.

    The last is the address of their server, without secrets, where it is written differently from ours.
    """
    try:
        config = json.loads(os.environ.get("KFP_MLFLOW_CONFIG") or "{}")
    except ValueError:
        config = {}
    if not isinstance(config, dict):
        config = {}
    address = str(config.get("endpoint") or os.environ.get("MLFLOW_TRACKING_URI") or "")
    other = address and not same_address(address, tracking_uri(root))
    return {
        "joined": os.environ.get("MLFLOW_RUN_ID", ""),
        "kfp_root": str(config.get("parentRunId") or ""),
        "elsewhere": bare(address) if other else "",
    }


def find(client: MlflowClient, facts: dict[str, Any]) -> Generator[None, None, Theirs]:
    """The runs that `told` has named; yields after every answer.

    Raises:
        MlflowException: there is no run MLFLOW_RUN_ID, and no other server that could have it.
    """
    elsewhere = facts.get("elsewhere", "")
    run = yield from _run(client, facts["joined"], needed=not elsewhere)
    if run is None:
        return Theirs(root=(yield from _run(client, facts.get("kfp_root", ""), needed=False)))
    top = run
    for _ in range(DEEPEST):
        if NESTED_IN not in top.data.tags:
            break
        top = client.get_run(top.data.tags[NESTED_IN])
        yield
    if top is run or OF_RUN not in top.data.tags:  # somebody's own run
        return Theirs(parent=run)
    return Theirs(task=run, root=top)


def link(client: MlflowClient, ours: Run, theirs: Run, *, live: bool) -> Iterator[None]:
    """Make the page of our run and that of Kubeflow's root run lead to each other.

    Several runs of Kubeflow may work on one run key: each root run leads to our run, ours to the newest of them.

    Args:
        live: the stage runs now, so that no newer one can have been linked.
    """
    run_id, root_id = str(ours.info.run_id), str(theirs.info.run_id)
    here = _page(ours)
    tags = {OURS: run_id, "mmgen.run_key": ours.data.tags["mmgen.run_key"]}
    yield from _set(client, theirs, tags, f"Scores, models and verdict: {here}", "Scores, models")
    if live or ROOT not in ours.data.tags:
        tags = {name: theirs.data.tags[name] for name in (OF_RUN, URL) if theirs.data.tags.get(name)}
        shown = tags.get(OF_RUN, root_id)
        if tags.get(URL, "").startswith(("http://", "https://")):
            shown = f"[{shown}]({tags[URL]})"
        note = f"{BEGINNING}{shown}, in MLflow {_page(theirs)}"
        yield from _set(client, ours, {ROOT: root_id, **tags}, note, BEGINNING)


def take(client: MlflowClient, task: Run, tags: dict[str, str], *, live: bool) -> Iterator[None]:
    """Make a task's run the run of a stage.

    Its end is Kubeflow's to set. But where Kubeflow tries a task again in the same run, which the first try has ended,
    nobody else says that it runs.
    """
    from mlflow.entities import RunTag

    run_id = str(task.info.run_id)
    if live and task.info.status in ("FAILED", "KILLED"):
        client.update_run(run_id, status="RUNNING")
        yield
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
    yield


def elsewhere(facts: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Tags of our run of the whole pipeline, and of the stage's, that lead to runs on another server."""
    server = {SERVER: facts["elsewhere"]} if facts.get("elsewhere") else {}
    root, task = facts.get("kfp_root", ""), facts["joined"]
    return (
        {ROOT: root, **server} if server and root else server,
        {TASK: task, **server} if server and task else {},
    )


def _run(client: MlflowClient, run_id: str, *, needed: bool) -> Generator[None, None, Run | None]:
    from mlflow.exceptions import MlflowException

    if not run_id:
        return None
    try:
        found = client.get_run(run_id)
    except MlflowException as error:
        if needed or error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        found = None
    yield
    return found


def _page(run: Run) -> str:
    """A link to a run's page, for MLflow's pages themselves; nothing in it that people have written."""
    return f"[{run.info.run_id}](#/experiments/{run.info.experiment_id}/runs/{run.info.run_id})"


def _set(client: MlflowClient, run: Run, tags: dict[str, str], note: str, beginning: str) -> Iterator[None]:
    """Set what differs; a description that a person wrote stays."""
    if run.data.tags.get(NOTE, beginning).startswith(beginning):
        tags = {**tags, NOTE: note}
    for name, value in tags.items():
        if run.data.tags.get(name) != value:
            again(client.set_tag, run.info.run_id, name, value)
            yield
