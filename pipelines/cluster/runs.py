"""A run as Kubeflow tells of it, and the pods behind it as its Argo workflow tells of them.

    run of the v2beta1 API    state of the run, and of each stage: one entry of its task details per Argo node
    workflow                  the nodes themselves with names, messages and children, from the v1beta1 API, which has
                              the workflow as Kubeflow saw it last

A stage is four nodes and more: `train-driver`, the task `train`, its `executor` and, since a task is tried again, a
node `executor(0)`, `executor(1)`, ... for each attempt. Only drivers and attempts are pods.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmgen.errors import one_line
from mmgen.ops.runs.keys import STAGES

STALE = "STALE"
"""Ours: Kubeflow takes the run for a live one, and nothing of it runs any more (`pipelines/cluster/stale.py`)."""
DEAD = ("FAILED", "CANCELED", "CANCELING", "SKIPPED", STALE)
"""States of a run that will not give a model."""
ENDED = ("SUCCEEDED", *DEAD)
LINE = 300
"""Characters of what a server says that are shown."""

Workflow = Mapping[str, Any]
"""The JSON of an Argo workflow; empty where none is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterRun:
    """A run as the cluster tells of it."""

    run_id: str
    name: str
    state: str
    created: str
    """UTC, such as 2026-11-23T08:00:00Z."""
    link: str
    error: str
    """Of the run or its first task that has one; Kubeflow 2.17 itself never sets any."""
    stages: dict[str, str]
    """State of each of our stages that has one, in their order."""
    began: bool
    """Whether any node of it was ever seen."""
    schedule: str
    """Id of the recurring run that started it, or nothing."""


def told(run: Any, link: str) -> ClusterRun:
    """A run of the v2beta1 API."""
    tasks = (run.run_details.task_details if run.run_details else None) or []
    states = {task.display_name: str(task.state or "PENDING") for task in tasks}
    errors = [one.error for one in (run, *tasks, *(run.state_history or [])) if one.error and one.error.message]
    return ClusterRun(
        run_id=run.run_id,
        name=run.display_name,
        state=str(run.state or "PENDING"),  # a run that was created just now has none yet
        created=run.created_at.strftime("%Y-%m-%dT%H:%M:%SZ") if run.created_at else "",
        link=link,
        error=line(errors[0].message) if errors else "",
        stages={stage: states[stage] for stage in STAGES if stage in states},
        began=bool(tasks),
        schedule=run.recurring_run_id or "",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A node of a workflow that is a pod."""

    stage: str
    """One of our stages, or "pipeline" for what belongs to none."""
    name: str
    """Its last part, such as `executor(0)` or `train-driver`."""
    node_id: str
    pod: str
    phase: str
    message: str

    @property
    def executes(self) -> bool:
        """Whether it is an attempt at the stage, not its driver."""
        return self.name.startswith("executor")


def nodes(workflow: Workflow) -> list[Node]:
    """The pods of a workflow in the order of our stages, the attempts of each in theirs."""
    found = [_node(workflow, node_id, node) for node_id, node in _nodes(workflow) if node.get("type") == "Pod"]
    order = ("pipeline", *STAGES)
    return sorted(found, key=lambda node: (order.index(node.stage), node.executes, len(node.name), node.name))


def stage_of(node_name: str) -> str:
    """The stage of a node by its name, in which every level that is tried again has the number of the attempt.

    >>> stage_of("mmgen-train-x7k2p(0).root(0).train(0).executor(1)"), stage_of("mmgen-train-x7k2p(0).root-driver(0)")
    ('train', 'pipeline')
    """
    parts = [re.sub(r"\(\d+\)$", "", part).removesuffix("-driver") for part in node_name.split(".")[1:]]
    return next((part for part in parts if part in STAGES), "pipeline")


def line(text: str) -> str:
    """What a server says, as one line."""
    return one_line(" ".join(text.split()), LINE)


def _nodes(workflow: Workflow) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from ((workflow.get("status") or {}).get("nodes") or {}).items()


def _node(workflow: Workflow, node_id: str, node: Mapping[str, Any]) -> Node:
    full = str(node.get("name") or "")
    return Node(
        stage=stage_of(full),
        name=full.rpartition(".")[2],
        node_id=node_id,
        pod=_pod(workflow, node_id, node),
        phase=str(node.get("phase") or "Pending"),
        message=line(str(node.get("message") or "")),
    )


def _pod(workflow: Workflow, node_id: str, node: Mapping[str, Any]) -> str:
    """Name of a node's pod, as Argo makes it up: the node's id with the template's name before its hash."""
    about = workflow["metadata"]
    if (about.get("annotations") or {}).get("workflows.argoproj.io/pod-name-format") == "v1":
        return node_id
    template = node.get("templateName")
    middle = f"-{template}" if template else ""
    return f"{about['name']}{middle}-{node_id.rpartition('-')[2]}"
