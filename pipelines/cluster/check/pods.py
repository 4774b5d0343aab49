"""Pods as Kubeflow makes them for a run: for a dry run of the server, and for a Job that looks around from inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmgen.ops.distributed import cluster_names
from pipelines.cluster.check.networks import OF_RUNS
from pipelines.cluster.profiles import AUTHORITIES, KEYS, SETTINGS

LITTLE = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
TIGHT = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What Kubeflow Pipelines 2.17 and the compiled pipeline give the containers of a run."""
ARGO = {"name": "var-run-argo", "mountPath": "/var/run/argo"}
SCRATCH = {"name": "scratch", "mountPath": "/tmp"}  # noqa: S108
CERTIFICATES = {"name": "authorities", "mountPath": AUTHORITIES, "readOnly": True}


def environment() -> list[dict[str, Any]]:
    """Variables of a task, by reference, as its profile gives them."""
    of_settings = [
        {
            "name": variable,
            "valueFrom": {"configMapKeyRef": {"name": cluster_names.SETTINGS, "key": key, "optional": True}},
        }
        for key, variable in SETTINGS.items()
    ]
    of_keys = [
        {
            "name": variable,
            "valueFrom": {"secretKeyRef": {"name": cluster_names.OBJECT_STORE, "key": key, "optional": True}},
        }
        for key, variable in KEYS.items()
    ]
    return [*of_settings, *of_keys]


def volumes() -> list[dict[str, Any]]:
    """What a task can write to, and the certificates that it may need."""
    return [
        {"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}},
        {"name": "authorities", "configMap": {"name": cluster_names.AUTHORITIES, "optional": True}},
    ]


def of_a_run(name: str, image: str, *, task: bool) -> dict[str, Any]:
    """A pod as Argo creates it for a task, or for Kubeflow's driver before it; it asks for little, whatever they do."""
    init = {"name": "init", "image": image, "resources": LITTLE, "securityContext": TIGHT, "volumeMounts": [ARGO]}
    wait = {"name": "wait", "image": image, "resources": LITTLE, "securityContext": TIGHT, "volumeMounts": [ARGO]}
    main = {
        "name": "main",
        "image": image,
        "command": ["/var/run/argo/argoexec", "emissary", "--", "true"],
        "args": ["true"],
        "resources": LITTLE,
        "env": environment() if task else [],
        "securityContext": TIGHT,
        "volumeMounts": [ARGO, SCRATCH, CERTIFICATES] if task else [ARGO],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {**OF_RUNS, "workflows.argoproj.io/completed": "true"}},
        "spec": {
            "serviceAccountName": cluster_names.RUNNER,
            "restartPolicy": "Never",
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": [init],
            "containers": [wait, main],
            "volumes": [{"name": "var-run-argo", "emptyDir": {}}, *(volumes() if task else [])],
        },
    }


def job(name: str, labels: Mapping[str, str], image: str, told: Mapping[str, str], seconds: int) -> dict[str, Any]:
    """A Job of one pod that looks around with the labels, the account, the image and the variables of a run's."""
    container = {
        "name": "main",
        "image": image,
        "command": ["python3", "-m", "pipelines.cluster.check.inside"],
        "resources": LITTLE,
        "env": [*environment(), *({"name": key, "value": value} for key, value in told.items())],
        "securityContext": TIGHT | {"readOnlyRootFilesystem": True},
        "volumeMounts": [SCRATCH, CERTIFICATES],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/name": "mmgen", "app.kubernetes.io/component": "check"},
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": seconds,
            "ttlSecondsAfterFinished": 600,
            "template": {
                "metadata": {"labels": dict(labels)},
                "spec": {
                    "serviceAccountName": cluster_names.RUNNER,
                    "restartPolicy": "Never",
                    "enableServiceLinks": False,
                    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [container],
                    "volumes": volumes(),
                },
            },
        },
    }
