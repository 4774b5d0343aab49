"""What the server makes of pods like a run's, before there is one: policies, security standards, limits, quota."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.cluster.check.findings import Finding, good, missing, unknown
from pipelines.cluster.check.kubernetes_api import Refused
from pipelines.cluster.check.pods import of_a_run
from pipelines.cluster.check.view import View
from pipelines.cluster.images import UNPUSHED

WAYS_OUT = {
    "exceeded quota": "free some of it, or raise ResourceQuota mmgen in k8s/base/limits.yaml",
    "violates PodSecurity": "use Kubeflow Pipelines 2.17, or let the namespace enforce `baseline`",
    "serviceaccount": "run: kubectl apply -k k8s/overlays/NAME",
    "service account": "run: kubectl apply -k k8s/overlays/NAME",
}
"""Piece of a refusal -> the way out."""
POLICIES = (
    "mend or delete the policy that it names: kubectl get mutatingadmissionpolicies,validatingadmissionpolicies; "
    "ours is k8s/components/restricted-pods"
)


def admission(view: View) -> Iterator[Finding]:
    """A dry run creates a pod of a task and one of Kubeflow's driver; no container starts."""
    image = (view.images or UNPUSHED).gpu
    for what, task in (("pod of a task", True), ("pod of a driver", False)):
        pod = of_a_run(f"mmgen-check-{'task' if task else 'driver'}", image, task=task)
        try:
            made = view.kubernetes.create(view.path("pods"), pod, dry_run=True)
        except Refused as refused:
            if refused.forbidden and "cannot create resource" in str(refused):
                yield unknown(what, "you may not create pods, not even in a dry run", "ask somebody who may")
                continue
            said = str(refused)
            way_out = next((way for piece, way in WAYS_OUT.items() if piece in said), POLICIES)
            yield missing(what, f"the server refuses it: {said}", way_out)
            continue
        main = next(container for container in made["spec"]["containers"] if container["name"] == "main")
        closed = main.get("securityContext", {}).get("readOnlyRootFilesystem") is True
        if closed and not task:
            yield missing(
                what,
                "its root file system would be read-only, and the driver writes its results below /tmp",
                POLICIES,
            )
        else:
            yield good(what, f"is accepted; its root file system is {'read-only' if closed else 'writable'}")
