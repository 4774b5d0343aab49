"""Manifests as a server would see them: rendered, held against schemas, and against what only a server refuses.

Each check takes the objects of one overlay and yields a line for each complaint.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mmgen.ops.distributed import cluster_names
from pipelines.cluster.profiles import AUTHORITIES, KEYS, STORE

ROOT = Path(__file__).resolve().parents[3]
CRDS = Path(os.environ.get("MMGEN_CRDS") or ROOT.parent / "shared" / "crds")
"""Folder of schemas of custom resources, `group_version_Kind.json`; without it those are not held against any."""

SERVER = "1.37"
"""Version of Kubernetes whose schemas core objects are held against, unknown fields refused."""

SECRETS = {
    "mlflow-database": {"uri", "password"},
    "object-store": {"access-key-id", "secret-access-key", "s3.json"},
}
"""Secrets that docs/cluster.md tells how to make, and their keys."""

LABELS_OF_OTHERS = {"workflows.argoproj.io/workflow", "serving.kserve.io/inferenceservice", "mmgen/role"}
"""Labels that pods get from Argo or KServe, or that only an overlay with the trainer's runtime gives."""

PULLERS = {cluster_names.RUNNER, cluster_names.EDITOR, cluster_names.SERVER}
"""Accounts whose pods run images of ours."""

Object = dict[str, Any]


def render(overlay: Path) -> list[Object]:
    """The objects of an overlay, by kustomize as kubectl carries it."""
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run([kubectl, "kustomize", overlay], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def name_of(thing: Object) -> str:
    return f"{thing['kind']}/{thing['metadata']['name']}"


def closed(schema: Any) -> Any:
    """The schema with unknown fields refused, as a server prunes them without a word."""
    if isinstance(schema, list):
        return [closed(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(value) for name, value in schema.items()}
    open_ended = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and schema["properties"] and not open_ended:
        names = schema["properties"].keys()
        if "metadata" in names and "kind" in names:
            inner["properties"]["metadata"] = {"type": "object"}
        inner["additionalProperties"] = False
    return inner


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Every pod template, with the name of what it belongs to."""
    for thing in objects:
        spec = thing.get("spec", {})
        for path in (("template",), ("jobTemplate", "spec", "template")):
            found = spec
            for step in path:
                found = found.get(step, {}) if isinstance(found, dict) else {}
            if "spec" in found and thing["kind"] != "TrainingRuntime":
                yield name_of(thing), found
        if thing["kind"] == "InferenceService":
            pod = spec["predictor"]
            yield name_of(thing), {"metadata": {"labels": pod.get("labels", {})}, "spec": pod}
        for job in spec.get("template", {}).get("spec", {}).get("replicatedJobs", []):
            yield name_of(thing), job["template"]["spec"]["template"]


def containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"].get("containers", [])]


def restricted(objects: list[Object]) -> Iterator[str]:
    """Pod Security Standard `restricted`, and a root file system that cannot be written."""
    for owner, pod in pods(objects):
        spec, context = pod["spec"], pod["spec"].get("securityContext", {})
        if not context.get("runAsNonRoot"):
            yield f"{owner}: runs as root"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{owner}: no seccomp profile"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{owner}: mounts a token of the cluster"
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(field):
                yield f"{owner}: {field}"
        if any("hostPath" in volume for volume in spec.get("volumes", [])):
            yield f"{owner}: a folder of the host"
        for container in containers(pod):
            own = container.get("securityContext", {})
            where = f"{owner} {container['name']}"
            if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
                yield f"{where}: may gain privileges"
            if own.get("capabilities", {}).get("drop") != ["ALL"] or own.get("capabilities", {}).get("add"):
                yield f"{where}: keeps capabilities"
            if own.get("readOnlyRootFilesystem") is not True:
                yield f"{where}: may write its root file system"


def images(objects: list[Object]) -> Iterator[str]:
    """Images are named by digest."""
    for owner, pod in pods(objects):
        for container in containers(pod):
            if not re.fullmatch(r"[a-z0-9./_-]+(:\d+/[a-z0-9./_-]+)?@sha256:[0-9a-f]{64}", container.get("image", "")):
                yield f"{owner} {container['name']}: image {container.get('image')!r} has no digest"


def amounts(objects: list[Object]) -> Iterator[str]:
    """Requests and limits are there, and no request is above its limit: a server refuses such a pod."""
    for owner, pod in pods(objects):
        for container in containers(pod):
            asked, most = (container.get("resources", {}).get(name, {}) for name in ("requests", "limits"))
            where = f"{owner} {container['name']}"
            if not {"cpu", "memory"} <= asked.keys() or "memory" not in most:
                yield f"{where}: asks for no cpu or memory, or has no limit of memory"
            for name in asked.keys() & most.keys():
                if quantity(asked[name]) > quantity(most[name]):
                    yield f"{where}: requests {name} {asked[name]}, above its limit {most[name]}"


def quantity(text: str | int | float) -> float:
    """A quantity of Kubernetes as a number.

    >>> quantity("250m"), quantity("1Gi")
    (0.25, 1073741824.0)
    """
    units = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    number, unit = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", str(text)).groups()  # type: ignore[union-attr]
    return float(number) * units[unit]


def selectors(objects: list[Object]) -> Iterator[str]:
    """What a controller, a service or a policy selects is there: a server takes a service that finds nobody."""
    labels = [pod.get("metadata", {}).get("labels", {}) for _, pod in pods(objects)]
    for thing in objects:
        spec = thing.get("spec", {})
        if thing["kind"] in ("Deployment", "StatefulSet"):
            wanted = spec["selector"]["matchLabels"]
            if wanted.items() - spec["template"]["metadata"]["labels"].items():
                yield f"{name_of(thing)}: its selector {wanted} does not match its own pods"
        if thing["kind"] == "Service":
            if not any(spec["selector"].items() <= found.items() for found in labels):
                yield f"{name_of(thing)}: no pod has the labels {spec['selector']}"
            ports = {
                port.get("name"): port["containerPort"]
                for _, pod in pods(objects)
                if spec["selector"].items() <= pod["metadata"].get("labels", {}).items()
                for container in containers(pod)
                for port in container.get("ports", [])
            }
            for port in spec["ports"]:
                if port["targetPort"] not in {*ports, *ports.values()}:
                    yield f"{name_of(thing)}: no container has the port {port['targetPort']!r}"
        if thing["kind"] == "NetworkPolicy":
            for wanted in _pod_selectors(thing):
                ours = {key: value for key, value in wanted.items() if key not in LABELS_OF_OTHERS}
                if ours and not any(ours.items() <= found.items() for found in labels):
                    yield f"{name_of(thing)}: no pod has the labels {ours}"


def _pod_selectors(policy: Object) -> Iterator[dict[str, str]]:
    spec = policy["spec"]
    rules = [
        peer
        for rule in [*spec.get("ingress", []), *spec.get("egress", [])]
        for peer in [*rule.get("from", []), *rule.get("to", [])]
    ]
    yield spec["podSelector"].get("matchLabels", {})
    for peer in rules:
        if "podSelector" in peer and "namespaceSelector" not in peer:
            yield peer["podSelector"].get("matchLabels", {})


def references(objects: list[Object]) -> Iterator[str]:
    """Service accounts and settings that pods name are there; secrets are among those that the docs make."""
    names = {name_of(thing) for thing in objects}
    for owner, pod in pods(objects):
        account = pod["spec"].get("serviceAccountName")
        if f"ServiceAccount/{account}" not in names:
            yield f"{owner}: no service account {account!r}"
        for container in containers(pod):
            for source in container.get("envFrom", []):
                if "configMapRef" in source and f"ConfigMap/{source['configMapRef']['name']}" not in names:
                    yield f"{owner}: no ConfigMap {source['configMapRef']['name']!r}"
                if "secretRef" in source:
                    yield f"{owner}: takes a whole secret into its environment"
            for variable in container.get("env", []):
                wanted = variable.get("valueFrom", {}).get("secretKeyRef")
                if wanted and wanted["key"] not in SECRETS.get(wanted["name"], set()):
                    yield f"{owner}: no secret {wanted['name']} with a key {wanted['key']}"
            mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
            known = {volume["name"] for volume in pod["spec"].get("volumes", [])}
            known |= {
                claim["metadata"]["name"]
                for thing in objects
                if name_of(thing) == owner
                for claim in thing["spec"].get("volumeClaimTemplates", [])
            }
            yield from (f"{owner}: no volume {name!r}" for name in sorted(mounted - known))


def schedules(objects: list[Object]) -> Iterator[str]:
    """CronJobs have five fields in their ranges and a time zone that exists: the schema takes any text."""
    for thing in objects:
        if thing["kind"] != "CronJob":
            continue
        zone, fields = thing["spec"].get("timeZone"), thing["spec"]["schedule"].split()
        if zone not in zoneinfo.available_timezones():
            yield f"{name_of(thing)}: time zone {zone!r} is unknown"
        bounds = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
        if len(fields) != len(bounds):
            yield f"{name_of(thing)}: schedule {thing['spec']['schedule']!r} has {len(fields)} fields, not 5"
            continue
        for field, (low, high) in zip(fields, bounds, strict=True):
            if any(not low <= int(number) <= high for number in re.findall(r"(?<!/)\b\d+", field)):
                yield f"{name_of(thing)}: {field!r} in its schedule is not within {low} to {high}"


def secrets(objects: list[Object]) -> Iterator[str]:
    """No value of a secret stands in a manifest."""
    for thing in objects:
        if thing["kind"] == "Secret":
            yield f"{name_of(thing)}: a secret in a manifest"
        if thing["kind"] == "ConfigMap":
            for name, value in thing.get("data", {}).items():
                if _secret(name) or re.search(r"://[^/@\s]+:[^/@\s]+@", value):
                    yield f"{name_of(thing)}: {name} looks like a secret"
    for owner, pod in pods(objects):
        for container in containers(pod):
            for variable in container.get("env", []):
                if _secret(variable["name"]) and "value" in variable:
                    yield f"{owner}: {variable['name']} has its value in the manifest"
            for argument in [*container.get("command", []), *container.get("args", [])]:
                if _secret(argument) or "$(" in argument:
                    yield f"{owner}: the argument {argument!r} may carry a secret"


def store_access(objects: list[Object]) -> Iterator[str]:
    """Whoever may reach the object store has all that one needs: the same variables and certificates as a run's pods.

    Keys are optional, since a role of the service account may stand for them.
    """
    for owner, pod in pods(objects):
        if pod.get("metadata", {}).get("labels", {}).get("mmgen/reaches") != "object-store":
            continue
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
        for container in containers(pod):
            where = f"{owner} {container['name']}"
            given = {entry["name"]: entry.get("valueFrom", {}) for entry in container.get("env", [])}
            whole = {source["configMapRef"]["name"] for source in container.get("envFrom", [])}
            for name in STORE:
                told = given.get(name, {}).get("configMapKeyRef", {})
                if cluster_names.SETTINGS not in whole and told != {
                    "name": cluster_names.SETTINGS, "key": name, "optional": True,
                }:  # fmt: skip
                    yield f"{where}: is not told {name}"
            for key, name in KEYS.items():
                told = given.get(name, {}).get("secretKeyRef", {})
                if told != {"name": cluster_names.OBJECT_STORE, "key": key, "optional": True}:
                    yield f"{where}: has no optional {name}"
            mounted = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
            volume = volumes.get(mounted.get(AUTHORITIES, ""), {})
            if volume.get("configMap") != {"name": cluster_names.AUTHORITIES, "optional": True}:
                yield f"{where}: has no certificates of {cluster_names.AUTHORITIES} at {AUTHORITIES}"


def admission(objects: list[Object]) -> Iterator[str]:
    """Policies change pods by JSON patches: an ApplyConfiguration that names a list is refused only with a pod."""
    for thing in objects:
        if thing["kind"] == "MutatingAdmissionPolicy":
            for mutation in thing["spec"]["mutations"]:
                if mutation["patchType"] != "JSONPatch":
                    yield f"{name_of(thing)}: changes pods by {mutation['patchType']}"


def pulls(objects: list[Object]) -> Iterator[str]:
    """Accounts whose pods run images of ours name the login to a private registry, which need not be there."""
    for thing in objects:
        puller = thing["kind"] == "ServiceAccount" and thing["metadata"]["name"] in PULLERS
        if puller and {"name": cluster_names.REGISTRY} not in thing.get("imagePullSecrets", []):
            yield f"{name_of(thing)}: pulls without {cluster_names.REGISTRY}"


def _secret(name: str) -> bool:
    return bool(re.search(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|CREDENTIAL", name, re.IGNORECASE))


def networks(objects: list[Object]) -> Iterator[str]:
    """Closed by default, and each opening names whom and where."""
    policies = [thing for thing in objects if thing["kind"] == "NetworkPolicy"]
    closed = [thing for thing in policies if thing["spec"]["podSelector"] == {} and "egress" not in thing["spec"]]
    if not any(set(thing["spec"]["policyTypes"]) == {"Ingress", "Egress"} for thing in closed):
        yield "no policy closes the namespace"
    for thing in policies:
        for rule in thing["spec"].get("egress", []):
            if not rule.get("to") or ("ports" not in rule and any("ipBlock" in peer for peer in rule["to"])):
                yield f"{name_of(thing)}: an opening to anywhere or to any port"
            if any(peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0" for peer in rule.get("to", [])):
                yield f"{name_of(thing)}: an opening to the whole internet"
    for thing in objects:
        if thing["kind"] == "Service" and thing["spec"].get("type", "ClusterIP") != "ClusterIP":
            yield f"{name_of(thing)}: reachable from outside"


CHECKS = (
    restricted, images, amounts, selectors, references, schedules, secrets, networks, store_access, admission, pulls,
)  # fmt: skip
