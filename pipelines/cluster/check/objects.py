"""Settings and secrets that pods of a run and MLflow take their environment from, and the keys in them."""

from __future__ import annotations

from collections.abc import Iterator

from mmgen.ops.distributed import cluster_names
from pipelines.cluster.check.accounts import APPLY
from pipelines.cluster.check.findings import Finding, good, missing, unknown
from pipelines.cluster.check.kubernetes_api import Refused
from pipelines.cluster.check.view import View
from pipelines.cluster.profiles import AUTHORITIES, KEYS

PROFILE_CONTROLLER = (
    "Kubeflow's profile controller makes it for a namespace with the label pipelines.kubeflow.org/enabled; "
    "see whether it runs"
)
BY_HAND = "make it as docs/cluster.md says"
ROLES = ("eks.amazonaws.com/role-arn", "iam.gke.io/gcp-service-account", "azure.workload.identity/client-id")
"""Annotations of a service account that stand for keys."""


def settings(view: View) -> Iterator[Finding]:
    """ConfigMaps: where runs find things, and what Kubeflow's driver reads."""
    what = f"settings {cluster_names.SETTINGS}"
    found = view.get("configmaps", cluster_names.SETTINGS)
    if found is None:
        yield missing(what, "there is no such ConfigMap", APPLY)
    else:
        data = found.get("data") or {}
        if lacking := [name for name in ("MMGEN_ROOT", "MLFLOW_TRACKING_URI") if not data.get(name)]:
            yield missing(what, f"lacks {', '.join(lacking)}", f"add it to k8s/base/settings.yaml; {APPLY}")
        else:
            told = ", ".join(f"{name}={data[name]}" for name in sorted(data) if name.startswith(("AWS_", "MMGEN_ROOT")))
            yield good(what, f"{told}, MLflow at {data['MLFLOW_TRACKING_URI']}")
        yield from _authority(view, [str(data.get(name, "")) for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")])
    what = f"settings {cluster_names.LAUNCHER}"
    launcher = view.get("configmaps", cluster_names.LAUNCHER)
    if launcher is None:
        yield missing(what, "there is no such ConfigMap", PROFILE_CONTROLLER)
    else:
        root = (launcher.get("data") or {}).get("defaultPipelineRoot", "Kubeflow's default")
        yield good(what, f"Kubeflow's artifacts go to {root}")


def secrets(view: View) -> Iterator[Finding]:
    """Secrets, by their keys; no value is shown."""
    yield _secret(view, cluster_names.ARTIFACTS, ("accesskey", "secretkey"), PROFILE_CONTROLLER)
    account = view.get("serviceaccounts", cluster_names.RUNNER) or {"metadata": {}}
    role = next((name for name in ROLES if name in account["metadata"].get("annotations", {})), None)
    if role is None:
        yield _secret(view, cluster_names.OBJECT_STORE, tuple(KEYS), BY_HAND)
    else:
        yield good(
            f"secret {cluster_names.OBJECT_STORE}", f"is not needed: {cluster_names.RUNNER} has a role by {role}"
        )
    if view.get("deployments", cluster_names.MLFLOW, group="apps/v1") is not None:
        yield _secret(view, cluster_names.DATABASE, ("uri", "password"), BY_HAND)


def _secret(view: View, name: str, keys: tuple[str, ...], way_out: str) -> Finding:
    what = f"secret {name}"
    try:
        found = view.get("secrets", name)
    except Refused as refused:
        if not refused.forbidden:
            raise
        return unknown(what, "you may not read it", "ask somebody who may, or try with --pods")
    if found is None:
        return missing(what, "there is no such Secret", way_out)
    if lacking := [key for key in keys if not (found.get("data") or {}).get(key)]:
        return missing(what, f"lacks the key {', '.join(lacking)}", way_out)
    return good(what, f"has {', '.join(keys)}")


def _authority(view: View, bundles: list[str]) -> Iterator[Finding]:
    what = f"settings {cluster_names.AUTHORITIES}"
    wanted = [path.removeprefix(f"{AUTHORITIES}/") for path in bundles if path.startswith(f"{AUTHORITIES}/")]
    if not wanted:
        return
    found = view.get("configmaps", cluster_names.AUTHORITIES) or {}
    if lacking := sorted({key for key in wanted if key not in (found.get("data") or {})}):
        yield missing(
            what,
            f"the settings name {AUTHORITIES}/{lacking[0]}, and the ConfigMap lacks {lacking[0]}",
            f"run: kubectl -n {view.namespace} create configmap {cluster_names.AUTHORITIES} "
            f"--from-file={lacking[0]}=FILE",
        )
    else:
        yield good(what, f"has {', '.join(sorted(set(wanted)))}")
