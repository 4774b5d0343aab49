"""Which connections the network policies of a cluster allow, computed without sending anything."""

from __future__ import annotations

import ipaddress
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmgen.ops.distributed import cluster_names
from pipelines.cluster.check.findings import Finding, good, missing, unknown
from pipelines.cluster.check.view import View, containers_of

GROUP = "networking.k8s.io/v1"
OF_RUNS = {"workflows.argoproj.io/workflow": "mmgen-check"}
"""Labels of a pod of a run, as policies see it."""
RUNTIMES = "trainer.kubeflow.org/v1alpha1"
Policy = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """One end of a connection: a pod with labels in a namespace, or an address outside of all pods."""

    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""
    address: str = ""

    @property
    def is_pod(self) -> bool:
        """Whether policies can know it by labels."""
        return not self.address


def reachable(policies: Sequence[Policy], who: End, whom: End, port: int, protocol: str = "TCP") -> bool:
    """Whether the policies let `who` open a connection to `port` of `whom`; ports are those of the pod.

    A namespace is known by its name alone, which Kubernetes gives it as a label.
    """
    out = _opens(policies, who, whom, port, protocol, "Egress", "egress", "to")
    return out and _opens(policies, whom, who, port, protocol, "Ingress", "ingress", "from")


def trainers(view: View) -> Mapping[str, str] | None:
    """Labels of the pods of a TrainJob, as the TrainingRuntime of the cluster gives them; None without one."""
    runtime = view.get("trainingruntimes", cluster_names.TRAINING_RUNTIME, group=RUNTIMES)
    if runtime is None:
        return None
    job = runtime["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    return dict(job["metadata"].get("labels") or {})


def policies(view: View) -> Iterator[Finding]:
    """Pods of a run, and of a training over nodes, may reach MLflow and the object store where these are pods too."""
    found = view.items("networkpolicies", group=GROUP)
    if not found:
        yield good("network policies", "there are none: every pod may speak to every other")
        return
    data = (view.get("configmaps", cluster_names.SETTINGS) or {}).get("data") or {}
    ends = {"a run": OF_RUNS, "a training over nodes": trainers(view)}
    for thing, name in (("MLflow", "MLFLOW_TRACKING_URI"), ("the object store", "AWS_ENDPOINT_URL_S3")):
        target = _service(view, str(data.get(name, "")))
        for who, labels in ends.items():
            if target is None or labels is None:
                continue
            whom, port = target
            what = f"network from {who} to {thing}"
            if reachable(found, End(labels=labels, namespace=view.namespace), whom, port):
                yield good(what, f"the policies allow port {port}")
            else:
                yield missing(
                    what,
                    f"no policy lets pods labelled {_shown(labels)} reach port {port} of pods labelled "
                    f"{_shown(whom.labels)}",
                    "run: kubectl apply -k k8s/overlays/NAME, or allow it in a NetworkPolicy",
                )
    yield from _to_kubernetes(view, found)


def _to_kubernetes(view: View, policies: Sequence[Policy]) -> Iterator[Finding]:
    """Argo's sidecar reports to the API, whose address is the cluster's own. Only pods show what its policies go by."""
    what = "network from a run to Kubernetes"
    slices = view.kubernetes.items(
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        labelSelector="kubernetes.io/service-name=kubernetes",
    )
    ends = [
        (address, int(port["port"]))
        for found in slices
        for endpoint in found.get("endpoints") or []
        for address in endpoint["addresses"]
        for port in found.get("ports") or []
    ]
    run = End(labels=OF_RUNS, namespace=view.namespace)
    closed = [f"{address}:{port}" for address, port in ends if not reachable(policies, run, End(address=address), port)]
    if ends and not closed:
        yield good(what, f"the policies allow {', '.join(f'{address}:{port}' for address, port in ends)}")
    elif closed:
        yield unknown(
            what,
            f"no policy allows {', '.join(closed)}, where its servers are; some networks go by the service's address",
            "put it into NetworkPolicy allow-runs-to-kubernetes-api in the overlay, or try --pods",
        )


def _shown(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _service(view: View, url: str) -> tuple[End, int] | None:
    """The pods and their port behind an address that is a Service of our namespace; None for any other."""
    parts = urllib.parse.urlsplit(url)
    name, _, rest = (parts.hostname or "").partition(".")
    if not name or rest.partition(".")[0] not in ("", view.namespace):
        return None
    service = view.get("services", name)
    if service is None:
        return None
    wanted = parts.port or (443 if parts.scheme == "https" else 80)
    port = next((entry for entry in service["spec"]["ports"] if entry["port"] == wanted), None)
    selector = service["spec"].get("selector") or {}
    if port is None or not selector:
        return None
    target = port.get("targetPort", wanted)
    owners = [*view.items("deployments", group="apps/v1"), *view.items("statefulsets", group="apps/v1")]
    for owner in owners:
        labels = owner["spec"]["template"]["metadata"].get("labels") or {}
        if selector.items() <= labels.items():
            named = {
                entry.get("name"): entry["containerPort"]
                for container in containers_of(owner)
                for entry in container.get("ports", [])
            }
            return End(labels=labels, namespace=view.namespace), int(named.get(target, target))
    return End(labels=selector, namespace=view.namespace), int(target) if str(target).isdigit() else wanted


def _opens(
    policies: Sequence[Policy], own: End, other: End, port: int, protocol: str, kind: str, rules: str, peers: str
) -> bool:
    """Whether the policies on one end allow the other: all that select it together, or none selects it."""
    if not own.is_pod:
        return True
    selecting = [
        policy
        for policy in policies
        if policy["metadata"].get("namespace", own.namespace) == own.namespace
        and kind in _kinds(policy)
        and _selects(policy["spec"].get("podSelector") or {}, own.labels)
    ]
    return not selecting or any(
        _port(rule.get("ports"), port, protocol) and _peer(rule.get(peers), own.namespace, other)
        for policy in selecting
        for rule in policy["spec"].get(rules) or []
    )


def _kinds(policy: Policy) -> Sequence[str]:
    spec = policy["spec"]
    return spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]


def _port(ports: Sequence[Mapping[str, Any]] | None, port: int, protocol: str) -> bool:
    if not ports:
        return True
    return any(
        entry.get("protocol", "TCP") == protocol
        and ("port" not in entry or entry["port"] == port or entry["port"] <= port <= entry.get("endPort", 0))
        for entry in ports
        if not isinstance(entry.get("port"), str)
    )


def _peer(peers: Sequence[Mapping[str, Any]] | None, namespace: str, other: End) -> bool:
    if not peers:
        return True
    for peer in peers:
        if "ipBlock" in peer:
            block = peer["ipBlock"]
            inside = not other.is_pod and _within(other.address, [block["cidr"]])
            if inside and not _within(other.address, block.get("except") or []):
                return True
        elif other.is_pod:
            spaces = peer.get("namespaceSelector")
            there = {"kubernetes.io/metadata.name": other.namespace}
            near = other.namespace == namespace if spaces is None else _selects(spaces, there)
            if near and _selects(peer.get("podSelector") or {}, other.labels):
                return True
    return False


def _within(address: str, blocks: Sequence[str]) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(block) for block in blocks)


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches; an empty one matches everything."""
    if not (selector.get("matchLabels") or {}).items() <= labels.items():
        return False
    tests = {
        "Exists": lambda entry: entry["key"] in labels,
        "DoesNotExist": lambda entry: entry["key"] not in labels,
        "In": lambda entry: labels.get(entry["key"]) in entry["values"],
        "NotIn": lambda entry: labels.get(entry["key"]) not in entry["values"],
    }
    return all(tests[entry["operator"]](entry) for entry in selector.get("matchExpressions") or [])
