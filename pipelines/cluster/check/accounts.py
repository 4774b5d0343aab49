"""The namespace, the accounts that runs have there, and what these may do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mmgen.ops.distributed import cluster_names
from pipelines.cluster.check.findings import Finding, good, missing, unknown
from pipelines.cluster.check.kubernetes_api import Refused
from pipelines.cluster.check.view import View

RBAC, AUTHORIZATION = "rbac.authorization.k8s.io/v1", "authorization.k8s.io/v1"
APPLY = "run: kubectl apply -k k8s/overlays/NAME"


@dataclass(frozen=True, kw_only=True, slots=True)
class Right:
    """Something that a run does in the namespace."""

    verb: str
    group: str
    resource: str
    name: str = ""
    asker: str
    """Who in a run does it."""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}" + (f"/{self.name}" if self.name else "")


RIGHTS = (
    Right(verb="create", group="argoproj.io", resource="workflowtaskresults", asker="Argo's sidecar"),
    Right(verb="patch", group="argoproj.io", resource="workflowtaskresults", asker="Argo's sidecar"),
    Right(verb="get", group="", resource="configmaps", name=cluster_names.LAUNCHER, asker="Kubeflow's driver"),
    Right(verb="get", group="", resource="secrets", name=cluster_names.ARTIFACTS, asker="Kubeflow's launcher"),
)
OF_TRAINJOBS = tuple(
    Right(verb=verb, group="trainer.kubeflow.org", resource="trainjobs", asker="a training over several nodes")
    for verb in ("create", "get", "delete")
)
USES = {
    cluster_names.RUNNER: "runs that mmgen submits",
    cluster_names.EDITOR: "runs that name no account, as from Kubeflow's pages, and recurring ones up to 2.16",
}


def namespace(view: View) -> Iterator[Finding]:
    """It is there, and Kubeflow knows of it."""
    what = f"namespace {view.namespace}"
    found = view.kubernetes.get(f"/api/v1/namespaces/{view.namespace}")
    if found is None:
        yield missing(what, "is not there", f"{APPLY}, or name another one with KFP_NAMESPACE")
        return
    labels = found["metadata"].get("labels", {})
    level = labels.get("pod-security.kubernetes.io/enforce", "privileged")
    if labels.get("pipelines.kubeflow.org/enabled") == "true":
        yield good(what, f"is there and one of Kubeflow's, enforces {level}")
    else:
        yield missing(
            what,
            "lacks the label by which Kubeflow equips it",
            f"run: kubectl label namespace {view.namespace} pipelines.kubeflow.org/enabled=true",
        )


def accounts(view: View) -> Iterator[Finding]:
    """Both accounts that a run may have are there, with every right that it needs."""
    rights = RIGHTS + (OF_TRAINJOBS if view.trains_on_nodes else ())
    for account, use in USES.items():
        what = f"account {account}"
        if view.get("serviceaccounts", account) is None:
            yield missing(what, f"is not there; {use} cannot start", APPLY)
            continue
        allowed = {right: _allowed(view, account, right) for right in rights}
        if all(allowed.values()):
            yield good(what, f"is there, for {use}; may {', '.join(map(str, rights))}")
        for right, answer in allowed.items():
            if answer is None:
                yield unknown(what, f"whether it may {right} cannot be asked", "ask somebody who may read Roles")
            elif not answer:
                yield missing(
                    what, f"may not {right}, which {right.asker} does", f"bind Role mmgen-runner to it; {APPLY}"
                )


def _allowed(view: View, account: str, right: Right) -> bool | None:
    """What the server says of an account, or, where we may not ask, the Roles that we may read; None without either."""
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{view.namespace}", "system:authenticated"]
    attributes = {
        "namespace": view.namespace, "verb": right.verb, "group": right.group, "resource": right.resource,
        "name": right.name,
    }  # fmt: skip
    review = {
        "apiVersion": AUTHORIZATION,
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{view.namespace}:{account}",
            "groups": groups,
            "resourceAttributes": attributes,
        },
    }
    try:
        answer = view.kubernetes.create(f"/apis/{AUTHORIZATION}/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])
    except Refused as refused:
        if not refused.forbidden:
            raise
    try:
        return any(_grants(rule, right) for rule in _rules(view, account, groups))
    except Refused as refused:
        if not refused.forbidden:
            raise
        return None


def _rules(view: View, account: str, groups: list[str]) -> Iterator[dict[str, Any]]:
    """Rules of every Role that a RoleBinding of the namespace gives to an account."""
    for binding in view.items("rolebindings", group=RBAC):
        for subject in binding.get("subjects") or []:
            same = subject["kind"] == "ServiceAccount" and subject["name"] == account
            if not same and not (subject["kind"] == "Group" and subject["name"] in groups):
                continue
            reference = binding["roleRef"]
            if reference["kind"] == "Role":
                role = view.get("roles", reference["name"], group=RBAC)
            else:
                role = view.kubernetes.get(f"/apis/{RBAC}/clusterroles/{reference['name']}")
            yield from (role or {}).get("rules") or []


def _grants(rule: dict[str, Any], right: Right) -> bool:
    def holds(field: str, value: str) -> bool:
        return bool({value, "*"} & set(rule.get(field) or []))

    named = rule.get("resourceNames")
    return (
        holds("apiGroups", right.group)
        and holds("resources", right.resource)
        and holds("verbs", right.verb)
        and (not named or right.name in named)
    )
