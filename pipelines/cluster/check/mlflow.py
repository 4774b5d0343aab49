"""MLflow: whether it is there and answers, and which host names it accepts."""

from __future__ import annotations

import base64
import fnmatch
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping

from mmgen.ops.distributed import cluster_names
from mmgen.ops.tracking.client import redacted
from pipelines.cluster.check.findings import Finding, good, missing, unknown
from pipelines.cluster.check.view import View, containers_of

QUESTION = "/api/2.0/mlflow/experiments/search?max_results=1"
FORWARDED = ("localhost:5000", "127.0.0.1:5000")
"""Names under which `kubectl port-forward service/mlflow 5000` shows it."""
HOSTS = "add it to --allowed-hosts in k8s/components/mlflow/server.yaml and apply the overlay"
TIMEOUT_SECONDS = 10.0


def server(view: View) -> Iterator[Finding]:
    """The Deployment in our namespace, where MLflow runs there: it is up, and listens to the names it is asked by."""
    what = "MLflow's server"
    found = view.get("deployments", cluster_names.MLFLOW, group="apps/v1")
    if found is None:
        yield unknown(what, "there is no Deployment mlflow in this namespace", "nothing, where MLflow runs elsewhere")
        return
    if (found.get("status") or {}).get("availableReplicas"):
        yield good(what, "is up")
    else:
        yield missing(what, "no replica is available", f"see: kubectl -n {view.namespace} describe pods -l app=mlflow")
    words = [word for container in containers_of(found) for word in container.get("args") or []]
    allowed = [word.partition("=")[2].split(",") for word in words if word.startswith("--allowed-hosts=")]
    names = (f"{cluster_names.MLFLOW}:5000", f"{cluster_names.MLFLOW}.{view.namespace}:5000", *FORWARDED)
    if allowed and (deaf := [name for name in names if not any(fnmatch.fnmatch(name, one) for one in allowed[-1])]):
        yield missing(what, f"refuses whoever asks by the name {', '.join(deaf)}: Invalid Host header", HOSTS)


def answers(uri: str, *, inside: bool = False, host: str = "") -> Iterator[Finding]:
    """What a server says to a question over HTTP.

    Args:
        uri: MLFLOW_TRACKING_URI.
        inside: Whether a pod asks, which has to reach it.
        host: Name to ask by, in place of the one in `uri`.
    """
    what = f"MLflow{'' if inside else ' from here'}{f' asked as {host}' if host else ''}"
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        yield unknown(
            what,
            f"MLFLOW_TRACKING_URI is {redacted(uri)!r}, no server",
            f"kubectl port-forward service/{cluster_names.MLFLOW} 5000 and set MLFLOW_TRACKING_URI, or try --pods",
        )
        return
    request = urllib.request.Request(uri.rstrip("/") + QUESTION, headers=_login(os.environ))  # noqa: S310 (checked)
    if host:
        request.add_header("Host", host)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            json.loads(answer.read(1 << 20))
        yield good(what, f"{redacted(uri)} answers")
    except urllib.error.HTTPError as error:
        said = error.read(500).decode(errors="replace")
        if error.code == 403 and "Invalid Host" in said:
            yield missing(
                what, f"{redacted(uri)} refuses the name {host or parts.netloc!r}: Invalid Host header", HOSTS
            )
        elif error.code in (401, 403):
            yield missing(what, f"{redacted(uri)} refuses us ({error.code})", "set MLFLOW_TRACKING_TOKEN or a password")
        else:
            yield missing(what, f"{redacted(uri)} answered {error.code}", "check the address and the server's log")
    except (OSError, ValueError) as error:
        found = f"{redacted(uri)} does not answer ({type(error).__name__})"
        if inside:
            yield missing(what, found, "check that it runs, DNS and the network policies")
        else:
            yield unknown(what, found, "check MLFLOW_TRACKING_URI, or try --pods")


def _login(environment: Mapping[str, str]) -> dict[str, str]:
    if token := environment.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    if name := environment.get("MLFLOW_TRACKING_USERNAME"):
        pair = f"{name}:{environment.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}
