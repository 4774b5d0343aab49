"""Argo workflows as Kubeflow keeps them, and the task details that its v2beta1 API makes of their nodes.

The shapes are those of Kubeflow Pipelines 2.17.0 and Argo 4.0.8 (`backend/src/v2/compiler/argocompiler`,
`apiserver/server/api_converter.go`, Argo's `workflow/controller/operator.go`), with a retry at every level as the stock
settings of Kubeflow's Argo have it, seen on real servers: node ids are the workflow's name and the
FNV-1a hash of the node's name, a pod's name has its template before that hash, the tasks of a stage hang below each
other, the next stage hangs below the last attempt of the one before. Nothing here runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NAME = "mmgen-train-x7k2p"
IMPL = "retry-system-container-impl"
"""Template of the attempts at a task that may be tried again."""


def node_id(name: str, workflow: str = NAME) -> str:
    """Id of a node."""
    value = 0x811C9DC5
    for byte in name.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return workflow if name == workflow else f"{workflow}-{value}"


def attempt(stage: str, number: int, workflow: str = NAME) -> tuple[str, str]:
    """Node id and pod name of an attempt at a stage."""
    made = node_id(f"{workflow}(0).root(0).{stage}(0).executor({number})", workflow)
    return made, f"{workflow}-{IMPL}-{made.rpartition('-')[2]}"


def workflow(
    run_id: str, stages: Mapping[str, Sequence[tuple[str, str]]], name: str = NAME, message: str = ""
) -> dict[str, Any]:
    """A workflow with the attempts at each stage, by phase and message; a stage without any has only its driver.

    The phase of a stage is that of its last attempt. `stages` may hold `<stage>-driver`, for a driver that is not well.
    """
    nodes: dict[str, dict[str, Any]] = {}

    def add(full: str, kind: str, phase: str, template: str, text: str = "", below: str = "") -> None:
        made = node_id(full, name)
        shown = full.rpartition(".")[2]
        nodes[made] = {
            "id": made,
            "name": full,
            "displayName": shown,
            "type": kind,
            "phase": phase,
            "templateName": template,
            "message": text,
            "children": [],
        }
        if below:
            nodes[node_id(below, name)]["children"].append(made)

    def tried(full: str, kind: str, phase: str, template: str, text: str = "", below: str = "") -> str:
        """A node that may be tried again, and its first try, whose name it gives."""
        add(full, "Retry", phase, template, below=below)
        add(f"{full}(0)", kind, phase, template, text, full)
        return f"{full}(0)"

    phases = [attempts[-1][0] for attempts in stages.values() if attempts]
    whole = next((phase for phase in phases if phase != "Succeeded"), "Running")
    entry = tried(name, "DAG", whole, "entrypoint")
    driver = tried(f"{entry}.root-driver", "Pod", "Succeeded", "system-dag-driver", below=entry)
    before = root = tried(f"{entry}.root", "DAG", whole, "root", below=driver)
    for stage, attempts in stages.items():
        if stage.endswith("-driver"):
            continue
        phase, text = (stages.get(f"{stage}-driver") or [("Succeeded", "")])[0]
        driver = tried(f"{root}.{stage}-driver", "Pod", phase, "system-container-driver", text, before)
        if not attempts:
            continue
        last = attempts[-1][0]
        task = tried(f"{root}.{stage}", "DAG", last, "retry-system-container-executor", below=driver)
        add(f"{task}.executor", "Retry", last, IMPL, below=task)
        for number, (phase, text) in enumerate(attempts):
            before = f"{task}.executor({number})"
            add(before, "Pod", phase, IMPL, text, f"{task}.executor")
    return {
        "metadata": {"name": name, "namespace": "team", "labels": {"pipeline/runid": run_id}, "annotations": {}},
        "status": {"phase": whole, "message": message, "nodes": nodes},
    }


def task_details(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the API tells of the nodes: no node says which id is its own, only which are below it."""
    states = {"Error": "FAILED", "Omitted": "RUNTIME_STATE_UNSPECIFIED"}
    return [
        {
            "run_id": found["metadata"]["labels"]["pipeline/runid"],
            "task_id": f"task-{key}",
            "display_name": node["displayName"],
            "state": states.get(node["phase"], node["phase"].upper()),
            "child_tasks": [{"pod_name": child} for child in node["children"]],
        }
        for key, node in sorted(found["status"]["nodes"].items())
    ]
