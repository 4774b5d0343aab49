"""`mmgen cluster check` finds the faults that it is there for, each put back into the cluster and taken out again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.kubeflow import Kubeflow

ATOMIC_LISTS = """
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: mmgen-fault-put-back}
spec:
  failurePolicy: Fail
  reinvocationPolicy: IfNeeded
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}
    objectSelector: {matchExpressions: [{key: workflows.argoproj.io/workflow, operator: Exists}]}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE]}]
  mutations:
    - patchType: ApplyConfiguration
      applyConfiguration:
        expression: >-
          Object{spec: Object.spec{containers: object.spec.containers.map(c, Object.spec.containers{name: c.name,
          securityContext: Object.spec.containers.securityContext{
          capabilities: Object.spec.containers.securityContext.capabilities{drop: ["ALL"]}}})}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: mmgen-fault-put-back}
spec: {policyName: mmgen-fault-put-back}
"""


def without(*kinds: str) -> Callable[[dict[str, Any]], None]:
    """Take the rules for resources of these kinds out of a role."""

    def change(role: dict[str, Any]) -> None:
        role["rules"] = [rule for rule in role["rules"] if not set(kinds) & set(rule["resources"])]

    return change


def hosts_of_the_cluster_only(deployment: dict[str, Any]) -> None:
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["args"] = [
        "--allowed-hosts=mlflow,mlflow:*" if each.startswith("--allowed-hosts") else each for each in container["args"]
    ]


@contextlib.contextmanager
def changed(kubeflow: Kubeflow, kind: str, name: str, change: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """An object of the namespace, changed inside the block."""
    before = kubeflow.kubectl("get", kind, name, "-o", "json")
    found = json.loads(before)
    change(found)
    for field in ("resourceVersion", "uid", "creationTimestamp"):
        found["metadata"].pop(field, None)
    kubeflow.kubectl("replace", "-f", "-", given=json.dumps(found))
    try:
        yield
    finally:
        first = json.loads(before)
        for field in ("resourceVersion", "uid", "creationTimestamp"):
            first["metadata"].pop(field, None)
        kubeflow.kubectl("replace", "-f", "-", given=json.dumps(first))


@contextlib.contextmanager
def removed(kubeflow: Kubeflow, kind: str, name: str) -> Iterator[None]:
    """An object of the namespace that is gone inside the block."""
    found = json.loads(kubeflow.kubectl("get", kind, name, "-o", "json"))
    for field in ("resourceVersion", "uid", "creationTimestamp"):
        found["metadata"].pop(field, None)
    kubeflow.kubectl("delete", kind, name)
    try:
        yield
    finally:
        kubeflow.kubectl("create", "-f", "-", given=json.dumps(found))


@contextlib.contextmanager
def added(kubeflow: Kubeflow, manifest: str) -> Iterator[None]:
    """Objects that are there inside the block only."""
    text = manifest.replace("NAMESPACE", kubeflow.namespace)
    kubeflow.kubectl("apply", "-f", "-", given=text)
    try:
        yield
    finally:
        kubeflow.kubectl("delete", "-f", "-", given=text)


FAULTS: dict[str, tuple[Callable[[Kubeflow], contextlib.AbstractContextManager[None]], str]] = {
    "2: no account for runs from the pages": (
        lambda kubeflow: removed(kubeflow, "serviceaccount", "default-editor"),
        "default-editor",
    ),
    "3: a policy that may not touch what it touches": (lambda kubeflow: added(kubeflow, ATOMIC_LISTS), "pod of a task"),
    "4: the runner may not read what Kubeflow's driver reads": (
        lambda kubeflow: changed(kubeflow, "role", "mmgen-runner", without("configmaps", "secrets")),
        "mmgen-runner",
    ),
    "7: MLflow refuses who comes by a forwarded port": (
        lambda kubeflow: changed(kubeflow, "deployment", "mlflow", hosts_of_the_cluster_only),
        "MLflow",
    ),
    "14: pods of a training do not reach the object store": (
        lambda kubeflow: removed(kubeflow, "networkpolicy", "allow-others-to-object-store"),
        "object store",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_is_put_back_is_found_with_its_way_out(kubeflow: Kubeflow, fault: str) -> None:
    put_back, named = FAULTS[fault]

    with put_back(kubeflow):
        found = json.loads(kubeflow.mmgen("cluster", "check", "--json", code=10).partition("\nmmgen:")[0])

    missing = [each for each in found if each["ok"] is False]
    assert [each for each in missing if named in f"{each['what']} {each['found']}" and each["way_out"]], missing
