"""Check from inside the cluster: a Job with the labels, the account, the image and the variables of a run's pods.

This alone shows that images can be pulled, that names are found, and that the policies of the network let pods reach
the bucket and MLflow. A pod of a training over several nodes has other labels, so it has a Job of its own.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any

from mmgen.ops.distributed import cluster_names
from pipelines.cluster.check.findings import Finding, missing, unknown
from pipelines.cluster.check.inside import MARK
from pipelines.cluster.check.kubernetes_api import Refused
from pipelines.cluster.check.networks import OF_RUNS, trainers
from pipelines.cluster.check.pods import job
from pipelines.cluster.check.view import View

JOBS, EVENTS = "batch/v1", "events"
LONGEST_SECONDS = 600
"""Until a pod has said what it sees: the first one on a node pulls an image of several GB."""
LOOK_SECONDS = 2.0


def pods(view: View) -> Iterator[Finding]:
    """What a pod of a run finds, and one of a training over nodes where the cluster has a runtime for these."""
    if view.images is None:
        yield unknown("pods", "no image is named for them", "set MMGEN_IMAGES, or name them with --image")
        return
    settings = (view.get("configmaps", cluster_names.SETTINGS) or {}).get("data") or {}
    root = view.environment.get("MMGEN_ROOT", "")
    told = {"MMGEN_ROOT": root if root.startswith("s3://") else settings.get("MMGEN_ROOT", "")}
    kinds: dict[str, tuple[Mapping[str, str], str]] = {"run": (OF_RUNS, view.images.cpu)}
    if labels := trainers(view):
        kinds["training"] = (labels, view.images.gpu)
    for kind, (own, image) in kinds.items():
        name = f"mmgen-check-{kind}-{secrets.token_hex(4)}"
        wanted = job(name, own, image, {**told, "MMGEN_CHECK_AS": kind}, LONGEST_SECONDS)
        yield from _look(view, name, wanted, f"pod of a {kind}")


def _look(view: View, name: str, wanted: Mapping[str, Any], what: str) -> Iterator[Finding]:
    try:
        view.kubernetes.create(view.path("jobs", group=JOBS), wanted)
    except Refused as refused:
        if refused.forbidden:
            yield unknown(what, f"you may not make a Job ({refused})", "ask somebody who may")
        else:
            yield missing(what, f"the server refuses its Job: {refused}", "mend what it names")
        return
    try:
        yield from _told(view, name, what)
    finally:
        view.kubernetes.delete(view.path("jobs", name, group=JOBS))


def _told(view: View, name: str, what: str) -> Iterator[Finding]:
    """Wait for the pod, and tell what it tells; or why there is none."""
    ends = time.monotonic() + LONGEST_SECONDS
    pod: dict[str, Any] | None = None
    while time.monotonic() < ends:
        pod = next(iter(view.items("pods", labelSelector=f"job-name={name}")), None)
        phase = ((pod or {}).get("status") or {}).get("phase")
        if phase in ("Succeeded", "Failed"):
            break
        if (why := _stuck(view, name, pod)) is not None:
            yield missing(what, why[0], why[1])
            return
        time.sleep(LOOK_SECONDS)
    else:
        yield missing(
            what, f"it has not ended after {LONGEST_SECONDS} s", f"see: kubectl -n {view.namespace} get events"
        )
        return
    assert pod is not None  # it has a phase
    log = view.kubernetes.text(view.path("pods", f"{pod['metadata']['name']}/log"))
    line = next((line for line in reversed(log.splitlines()) if line.startswith(MARK)), None)
    if line is None:
        last = (log.strip().splitlines() or ["nothing"])[-1]
        yield missing(
            what, f"it ended without an answer; its last line: {last}", "build and push images of this version"
        )
        return
    for found in json.loads(line.removeprefix(MARK)):
        yield Finding(**{**found, "what": f"{what}: {found['what']}"})


def _stuck(view: View, name: str, pod: Mapping[str, Any] | None) -> tuple[str, str] | None:
    """Why the pod will never run, and the way out; None while it may."""
    if pod is None:
        for event in view.items(EVENTS, fieldSelector=f"involvedObject.name={name}"):
            if event.get("reason") == "FailedCreate":
                return str(event.get("message")), "mend the quota, the account or the policy that it names"
        return None
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or []:
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if reason in ("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull"):
            way_out = f"check the name, and the Secret {cluster_names.REGISTRY} for a private registry"
            return f"its image cannot be pulled ({reason}): {message}", way_out
        if reason in ("CreateContainerConfigError", "CreateContainerError"):
            return f"its container cannot be made ({reason}): {message}", "mend the setting or secret that it names"
    for condition in status.get("conditions") or []:
        if condition.get("reason") == "Unschedulable":
            return f"no node takes it: {condition.get('message')}", "free a node, or mend its labels and taints"
    return None
