"""Answers about a run: why it does not continue, and the logs of its pods."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from pipelines.cluster.client import Cluster
from pipelines.cluster.reasons import Reason, reasons, with_last_words
from pipelines.cluster.runs import STALE, ClusterRun, Node, Workflow, nodes

IDLE = datetime.timedelta(minutes=2)
"""After which a run of which Argo has made nothing is spoken of."""
NO_LOG = "(nothing yet, or not kept)"


def why(cluster: Cluster, run: ClusterRun) -> list[str]:
    """Why a run failed or waits, one line each; none where there is no problem or no reason is known."""
    lines = [run.error] if run.error else []
    if run.state in ("SUCCEEDED", STALE):
        return lines
    workflow = cluster.workflow(run.run_id)
    pods = cluster.objects.pods(run.run_id) if cluster.objects else None
    warnings = cluster.objects.warnings() if cluster.objects else None
    found = reasons(run.name, run.stages, workflow, pods or [], warnings or [])
    lines += [str(_explained(cluster, run, workflow, reason)) for reason in found]
    if not lines and not run.began and run.state == "PENDING" and _age(run) > IDLE:
        lines.append(f"Argo has made no pod of it since {run.created}; see whether its workflow-controller runs")
    return lines


def logs(cluster: Cluster, run: ClusterRun, stage: str | None) -> Iterator[tuple[str, str]]:
    """Titles and logs of what has run of a stage, or of all: every attempt at it, and a driver that failed."""
    for node in nodes(cluster.workflow(run.run_id)):
        if stage in (None, node.stage) and (node.executes or node.phase in ("Failed", "Error")):
            yield f"{node.stage}: {node.name}, {node.phase}", _log(cluster, run, node) or NO_LOG


def _explained(cluster: Cluster, run: ClusterRun, workflow: Workflow, reason: Reason) -> Reason:
    if reason.kind != "ended":
        return reason
    failed = [node for node in nodes(workflow) if node.stage == reason.stage and node.phase in ("Failed", "Error")]
    return with_last_words(reason, _log(cluster, run, failed[-1]) or "") if failed else reason


def _log(cluster: Cluster, run: ClusterRun, node: Node) -> str | None:
    """By the pod's name while there is a pod; an older server has its archive under the node's id."""
    return cluster.log(run.run_id, node.pod) or cluster.log(run.run_id, node.node_id)


def _age(run: ClusterRun) -> datetime.timedelta:
    if not run.created:
        return datetime.timedelta()
    return datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(run.created)
