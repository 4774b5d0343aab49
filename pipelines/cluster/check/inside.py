"""What a pod of a run sees: `python -m pipelines.cluster.check.inside`, in a Job of `mmgen cluster check --pods`.

One line of JSON with the findings. Only what every image has is used here: no client of Kubernetes or Kubeflow.

    MMGEN_CHECK_AS     `run`, or `training` for a pod of a training over several nodes, which may reach less
    MMGEN_ROOT         where runs keep what they make
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.cluster.check.bucket import bucket
from pipelines.cluster.check.findings import Finding, good, missing
from pipelines.cluster.check.mlflow import FORWARDED, answers

MARK = "mmgen-check: "
"""How the line with the findings begins."""
TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount")
NETWORK = "look at the network policies (k8s/base/network-policies.yaml and the overlay's) and at DNS"
KUBEFLOW = {"Kubeflow's API": ("ml-pipeline.kubeflow", 8887), "its metadata": ("metadata-grpc-service.kubeflow", 8080)}
"""What drivers and launchers of a run speak to."""


def look(environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Every check that a pod can make."""
    yield from bucket(environment.get("MMGEN_ROOT", ""), inside=True)
    uri = environment.get("MMGEN_TRACKING_URI", "")
    yield from answers(uri, inside=True)
    if uri.startswith("http://"):
        yield from answers(uri, inside=True, host=FORWARDED[0])
    if environment.get("MMGEN_CHECK_AS") == "run":
        yield _kubernetes()
        for name, (host, port) in KUBEFLOW.items():
            yield _connects(name, host, port)


def _kubernetes() -> Finding:
    what = "Kubernetes"
    try:
        token = (TOKEN / "token").read_text(encoding="ascii").strip()
        trusted = ssl.create_default_context(cafile=str(TOKEN / "ca.crt"))
        asked = urllib.request.Request(
            "https://kubernetes.default.svc/version", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(asked, timeout=10, context=trusted):  # noqa: S310 (it is https)
            return good(what, "its API answers")
    except FileNotFoundError:
        return missing(what, "the pod has no token", "see automountServiceAccountToken of the account")
    except urllib.error.HTTPError as error:
        error.close()
        return good(what, f"its API answers ({error.code})")
    except OSError as error:
        return missing(what, f"its API does not answer ({type(error).__name__})", NETWORK)


def _connects(name: str, host: str, port: int) -> Finding:
    try:
        with socket.create_connection((host, port), timeout=5):
            return good(name, f"{host}:{port} takes connections")
    except OSError as error:
        return missing(name, f"{host}:{port} cannot be reached ({type(error).__name__})", NETWORK)


def main() -> None:
    """Print what was found."""
    print(MARK + json.dumps([dataclasses.asdict(finding) for finding in look()]), flush=True)


if __name__ == "__main__":
    main()
