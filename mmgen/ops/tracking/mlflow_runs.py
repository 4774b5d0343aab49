"""The MLflow runs of a stage and of its whole run: found or made, and told what is known when the stage begins.

Each call may be cut off anywhere and repeated: a run is found again by its tags, a param or data set that is there
stays. Like those of `mmgen.ops.tracking.delivery`, the generators yield after every answer of the tracker.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.files import digest
from mmgen.ops.tracking import kubeflow_runs
from mmgen.ops.tracking.client import SQLITE
from mmgen.ops.tracking.concurrent_writes import again
from mmgen.ops.tracking.outbox import Entry

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

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
    theirs = yield from kubeflow_runs.find(client, facts)
    parent = theirs.parent
    if parent is None:
        experiment = _experiment(client, uri, root, facts["recipe"])
        yield
        parent = _parent(client, experiment, facts)
        yield
    parent_id, experiment_id = str(parent.info.run_id), str(parent.info.experiment_id)
    to_parent, to_child = ({}, {}) if theirs != kubeflow_runs.Theirs() else kubeflow_runs.elsewhere(facts)
    for name, value in {**facts["tags"], STAGE_KEYS: facts["stage_keys"]}.items():
        if name not in parent.data.tags:  # a run that goes on from a later commit stays what it was
            again(client.set_tag, parent_id, name, value)
            yield
    if theirs.root:
        yield from kubeflow_runs.link(client, parent, theirs.root, live=live)
    for name, value in to_parent.items():
        again(client.set_tag, parent_id, name, value)
        yield
    if live and not theirs.parent:
        settle(client, parent_id, "RUNNING", facts["began"], live=True)
        yield
    yield from _log_inputs(client, parent, facts)
    tries = _find(client, experiment_id, facts, facts["stage"])
    yield
    if live:
        for old in tries:  # those without a heartbeat are Kubeflow's, who ends them
            if HEARTBEAT in old.data.tags and old.info.status == "RUNNING" and old.info.start_time < facts["began"]:
                client.set_terminated(old.info.run_id, "KILLED")
                yield
    tags = {**facts["tags"], "mmgen.stage": facts["stage"], "mmgen.key": facts["key"], ATTEMPT: facts["attempt"]}
    there: dict[str, int] = {}
    if theirs.task and _free(theirs.task, facts, live=live):
        there = yield from _take(client, theirs.task, {**tags, kubeflow_runs.OURS: parent_id}, facts, live=live)
        run_id, not_ours = str(theirs.task.info.run_id), [str(theirs.task.info.run_id)]
    else:
        mine = [str(run.info.run_id) for run in tries if run.data.tags.get(ATTEMPT) == facts["attempt"]]
        run_id = mine[0] if mine else _child(client, experiment_id, parent_id, {**tags, **to_child}, facts)
        not_ours = [parent_id] if theirs.parent else []
    yield
    entry.remember(experiment_id=experiment_id, parent_id=parent_id, run_id=run_id, not_ours=not_ours, there=there)


def _take(
    client: MlflowClient, task: Run, tags: dict[str, str], facts: dict[str, Any], *, live: bool
) -> Generator[None, None, dict[str, int]]:
    """Make Kubeflow's run of a task the run of the stage; the last step that an earlier try logged, by metric."""
    there = {}
    if ATTEMPT in task.data.tags:
        for name in task.data.metrics:
            there[name] = max(int(metric.step) for metric in client.get_metric_history(task.info.run_id, name))
            yield
    yield from kubeflow_runs.take(client, task, tags, live=live)
    yield from _log_inputs(client, task, facts)
    return there


def _free(task: Run, facts: dict[str, Any], *, live: bool) -> bool:
    """Whether Kubeflow's run of a task can be this stage's: a later try, or another stage of the task, may have it."""
    tags = task.data.tags
    return tags.get("mmgen.key", facts["key"]) == facts["key"] and (
        live or tags.get(ATTEMPT) in (None, facts["attempt"])
    )


def settle(client: MlflowClient, parent_id: str, status: str, when: int, *, live: bool) -> None:
    """Set the status of a parent; a stage that is sent late does not undo what a later one has set."""
    if not live and when < int(client.get_run(parent_id).data.tags.get(SETTLED_AT, 0)):
        return
    again(client.set_tag, parent_id, SETTLED_AT, str(when))
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


def _child(client: MlflowClient, experiment: str, parent_id: str, tags: dict[str, str], facts: dict[str, Any]) -> str:
    tags = {**tags, kubeflow_runs.NESTED_IN: parent_id, HEARTBEAT: str(int(time.time()))}
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
        again(client.set_tag, run_id, CONFLICT, ", ".join(other)[:PARAM_CHARACTERS])
        yield
    data = Dataset(**facts["data"], source_type="local")
    if data.digest not in {found.dataset.digest for found in parent.inputs.dataset_inputs}:
        again(client.log_inputs, run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
        yield


def _cut(value: str) -> str:
    """A value that MLflow keeps as it is; a longer one by its beginning and the sha256 of the whole."""
    mark = f" ... sha256 {digest(value)}"
    return value if len(value) <= PARAM_CHARACTERS else value[: PARAM_CHARACTERS - len(mark)] + mark
