"""A Kubeflow that the environment names, as its users reach it: the command line, kubectl, the REST API of the pages.

KUBECONFIG, KFP_ENDPOINT      the cluster, and the address of Kubeflow Pipelines' API
KFP_NAMESPACE, KFP_TOKEN_FILE namespace, and a token for it where the API wants one (docs/cluster.md)
MMGEN_IMAGES                  both images, by digest
MMGEN_ROOT                    s3://bucket/prefix that is reachable from here and from pods; AWS_... with its keys
MLFLOW_TRACKING_URI           MLflow as it is reachable from here
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.whole_run import ROOT

NEEDED = ("KUBECONFIG", "KFP_ENDPOINT", "MMGEN_IMAGES", "MMGEN_ROOT", "MLFLOW_TRACKING_URI")
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
PATIENCE = 2400.0
"""Seconds that anything may take: a cluster may be slow, and a green test does not wait."""


@dataclass(frozen=True)
class Kubeflow:
    """One cluster, and the folder where commands are given."""

    folder: Path
    """Holds params.yaml with the small recipe."""
    root: str
    data: str
    namespace: str

    def mmgen(self, *words: str, code: int = 0, **environment: str) -> str:
        """What the command line prints; it must end with exit code `code`."""
        line = [sys.executable, "-m", "pipelines.cli", *words]
        told = {**os.environ, "PYTHONPATH": str(ROOT), "MMGEN_ROOT": self.root, "KFP_NAMESPACE": self.namespace}
        done = subprocess.run(
            line, cwd=self.folder, env={**told, **environment}, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, f"{' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 else done.stdout + done.stderr

    def json(self, *words: str, **environment: str) -> Any:
        """The answer of a verb that knows --json."""
        return json.loads(self.mmgen(*words, "--json", **environment))

    def kubectl(self, *words: str, given: str | None = None, check: bool = True) -> str:
        """What kubectl prints."""
        line = ["kubectl", "--namespace", self.namespace, *words]
        done = subprocess.run(line, input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def api(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """An answer of the REST API that Kubeflow's pages speak to."""
        address = f"{os.environ['KFP_ENDPOINT'].rstrip('/')}/apis/v2beta1/{path}"
        headers = {"content-type": "application/json"}
        if token := os.environ.get("KFP_TOKEN_FILE"):
            headers["authorization"] = f"Bearer {Path(token).read_text().strip()}"
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(address, data, headers, method=method)) as answer:
            return json.loads(answer.read() or b"{}")

    def run(self, run_id: str) -> dict[str, Any]:
        """A run as the API tells of it."""
        found: dict[str, Any] = self.api(f"runs/{run_id}")
        return found

    def ended(self, run_id: str) -> str:
        """Wait for the end of a run; its state."""
        until(lambda: self.run(run_id).get("state") in ENDED, f"run {run_id} does not end")
        return str(self.run(run_id)["state"])

    def pod(self, run_id: str, stage: str) -> str | None:
        """The pod that works at a stage now; None where none does."""
        for pod in self.pods(f"pipeline/runid={run_id}"):
            node = pod["metadata"]["annotations"].get("workflows.argoproj.io/node-name", "")
            if f".{stage}(" in node and ".executor(" in node and pod["status"]["phase"] == "Running":
                return str(pod["metadata"]["name"])
        return None

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """Pods of the namespace with these labels."""
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
        return found

    def workflow(self, run_id: str) -> bool:
        """Whether Argo still has the workflow of a run."""
        found = self.kubectl("get", "workflows.argoproj.io", "-l", f"pipeline/runid={run_id}", "-o", "name")
        return bool(found.strip())

    def log(self, pod: str) -> str:
        """What the task in a pod has written."""
        return self.kubectl("logs", pod, "-c", "main", check=False)


def until(holds: Callable[[], Any], otherwise: str) -> Any:
    """Wait until something holds; what it gave."""
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < deadline, otherwise
        time.sleep(2)
    return found
