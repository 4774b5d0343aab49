"""Kinds that operators bring: those that the profile needs, and those of components that a cluster may do without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mmgen.ops.distributed import cluster_names
from pipelines.cluster.check.findings import Finding, good, missing
from pipelines.cluster.check.networks import RUNTIMES
from pipelines.cluster.check.view import View


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """An operator, and the component of k8s/ that needs its kinds."""

    operator: str
    group: str
    plural: str
    component: str


TRAINER = Part(operator="Kubeflow Trainer", group=RUNTIMES, plural="trainjobs", component="trainer")
KUEUE = Part(operator="Kueue", group="kueue.x-k8s.io/v1beta2", plural="localqueues", component="kueue")
PARTS = (
    TRAINER,
    KUEUE,
    Part(operator="KServe", group="serving.kserve.io/v1beta1", plural="inferenceservices", component="serving"),
    Part(
        operator="External Secrets",
        group="external-secrets.io/v1",
        plural="externalsecrets",
        component="external-secrets",
    ),
    Part(
        operator="Prometheus Operator",
        group="monitoring.coreos.com/v1",
        plural="prometheusrules",
        component="monitoring",
    ),
)


def version(view: View) -> Iterator[Finding]:
    """Kubernetes itself."""
    found = view.kubernetes.get("/version") or {}
    yield good("Kubernetes", f"answers, {found.get('gitVersion', 'and does not tell its version')}")


def parts(view: View) -> Iterator[Finding]:
    """Which kinds the cluster knows, and whether a TrainJob finds its runtime and its queue."""
    for part in PARTS:
        what = f"kinds of {part.operator}"
        known = _knows(view, part)
        if known:
            yield good(what, f"{part.plural} {part.group} are known")
        elif part is TRAINER and view.trains_on_nodes:
            yield missing(
                what,
                f"profile {view.profile!r} starts TrainJobs, and the cluster does not know them",
                "install Kubeflow Trainer 2.3, or choose another profile",
            )
        else:
            yield good(what, f"are not there; only k8s/components/{part.component} needs them")
    if view.trains_on_nodes and _knows(view, TRAINER):
        yield from _training(view)


def _training(view: View) -> Iterator[Finding]:
    what = f"runtime {cluster_names.TRAINING_RUNTIME}"
    if view.get("trainingruntimes", cluster_names.TRAINING_RUNTIME, group=RUNTIMES) is None:
        yield missing(
            what, "there is no such TrainingRuntime", "add k8s/components/trainer to the overlay and apply it"
        )
    else:
        yield good(what, "is there")
    if not _knows(view, KUEUE):
        return
    what = f"queue {cluster_names.QUEUE}"
    if view.get("localqueues", cluster_names.QUEUE, group=KUEUE.group) is None:
        yield missing(
            what,
            "there is no such LocalQueue; Kueue would let no TrainJob begin",
            "add k8s/components/kueue to the overlay and apply it",
        )
    else:
        yield good(what, "is there")


def _knows(view: View, part: Part) -> bool:
    found = view.kubernetes.get(f"/apis/{part.group}") or {}
    return any(resource["name"] == part.plural for resource in found.get("resources", []))
