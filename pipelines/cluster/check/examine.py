"""Every check of a cluster, in the order in which a run would fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from mmgen.errors import MmgenError
from mmgen.ops.tracking.client import ADDRESSES
from pipelines.cluster.check import mlflow
from pipelines.cluster.check.accounts import accounts, namespace
from pipelines.cluster.check.admission import admission
from pipelines.cluster.check.bucket import bucket
from pipelines.cluster.check.findings import Finding, missing, of_error, unknown
from pipelines.cluster.check.images import deployed
from pipelines.cluster.check.jobs import pods
from pipelines.cluster.check.kubeflow import kubeflow
from pipelines.cluster.check.kubernetes_api import Refused, connect
from pipelines.cluster.check.networks import policies
from pipelines.cluster.check.objects import secrets, settings
from pipelines.cluster.check.parts import parts, version
from pipelines.cluster.check.quota import quota
from pipelines.cluster.check.view import View
from pipelines.cluster.images import Images

Check = Callable[[View], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    version,
    namespace,
    accounts,
    settings,
    secrets,
    admission,
    quota,
    policies,
    mlflow.server,
    deployed,
    parts,
)
"""Those that ask Kubernetes and start nothing."""


def examine(
    namespace: str,
    profile: str,
    images: Images | None = None,
    *,
    inside: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> Iterator[Finding]:
    """Look at the cluster that the environment names: KFP_ENDPOINT, KUBECONFIG, MMGEN_ROOT, MLFLOW_TRACKING_URI.

    Args:
        namespace: Where runs would be.
        profile: What tasks would ask for.
        images: What tasks would run in.
        inside: Whether pods look around as well.
        environment: The variables of whoever asks.
    """
    yield from kubeflow({**environment, "KFP_NAMESPACE": namespace}, profile)
    try:
        api = connect(environment)
    except MmgenError as error:
        yield of_error("Kubernetes", error)
    else:
        view = View(kubernetes=api, namespace=namespace, profile=profile, images=images, environment=dict(environment))
        for check in (*CHECKS, *((pods,) if inside else ())):
            yield from _asked(check, view)
    yield from bucket(environment.get("MMGEN_ROOT", ""))
    yield from mlflow.answers(next((environment[name] for name in ADDRESSES if environment.get(name)), ""))


def _asked(check: Check, view: View) -> Iterator[Finding]:
    """The findings of a check; one that is refused, or gets no answer, is a finding as well."""
    try:
        yield from check(view)
    except Refused as refused:
        tell = unknown if refused.forbidden else missing
        yield tell(
            check.__name__, f"Kubernetes answered {refused.status}: {refused}", "ask somebody who may look at it"
        )
    except MmgenError as error:
        yield of_error(check.__name__, error)
