"""Kubeflow Pipelines: its version and mode, whether it accepts our credentials, and whether its MLflow plugin is on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mmgen.errors import MmgenError
from pipelines.cluster.check.findings import Finding, good, of_error, unknown
from pipelines.cluster.client import Cluster, connect
from pipelines.cluster.server import Absent

OLDEST = (2, 17)
"""Whose drivers, launchers and pages this pipeline was tried with."""


def kubeflow(environment: Mapping[str, str], profile: str) -> Iterator[Finding]:
    """Version and mode of the API server at KFP_ENDPOINT, and its answer to our credentials."""
    from pipelines.cluster.check.plugin import plugin

    try:
        cluster = connect(environment)
        health = _ask(cluster, "/apis/v2beta1/healthz")
        yield _version(health)
        # A server with one user refuses the question for a namespace.
        namespace = environment.get("KFP_NAMESPACE", "") if health.get("multi_user") else ""
        mine = f"&namespace={namespace}" if namespace else ""
        runs = _ask(cluster, f"/apis/v2beta1/runs?page_size=20&sort_by=created_at%20desc{mine}")
    except MmgenError as error:
        yield of_error("Kubeflow", error)
        yield from plugin(profile, None)
        return
    yield good("Kubeflow's answer to us", f"we may list runs{f' of namespace {namespace}' if namespace else ''}")
    yield from plugin(profile, runs.get("runs") or [])


def _version(health: Mapping[str, Any]) -> Finding:
    mode = "with several users" if health.get("multi_user") else "with one user"
    tag = str(health.get("tag_name") or "unknown")
    parts = tag.removeprefix("v").split(".")
    known = len(parts) >= 2 and all(part.isdigit() for part in parts[:2])
    if not known:
        return good("Kubeflow", f"answers, {mode}; its version is not told ({tag})")
    if (int(parts[0]), int(parts[1])) < OLDEST:
        return unknown(
            "Kubeflow",
            f"{tag}, {mode}; this pipeline was tried with 2.17",
            "upgrade, or let the namespace enforce `baseline` and see docs/cluster.md",
        )
    return good("Kubeflow", f"{tag}, {mode}")


def _ask(cluster: Cluster, path: str) -> dict[str, Any]:
    try:
        found = json.loads(cluster.get(path, {}))
    except (Absent, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
