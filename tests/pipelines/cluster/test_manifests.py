"""Every overlay renders, fits the schemas of its kinds, and holds what only a server would refuse.

No API server can be had in tests: nothing here says that Kubernetes would take these objects, only that their fields
and versions are those published, and that the mistakes listed in `tests/support/cluster/manifests.py` are not in them.
"""

from __future__ import annotations

import copy
import fnmatch
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmgen.ops.distributed import cluster_names
from pipelines.cluster.check.networks import End, reachable
from pipelines.cluster.profiles import STORE
from tests.support.cluster import manifests
from tests.support.cluster.manifests import CHECKS, CRDS, ROOT, SECRETS, SERVER, Object, closed, name_of, render

kubernetes_validate = pytest.importorskip(
    "kubernetes_validate", reason="no schemas of Kubernetes: install mmgen[cluster]"
)

OVERLAYS = sorted(path.name for path in (ROOT / "k8s" / "overlays").iterdir())
CUSTOM = {"argoproj.io", "kubeflow.org", "pipelines.kubeflow.org", "serving.kserve.io", "trainer.kubeflow.org"}
NO_SCHEMA = {"kueue.x-k8s.io", "external-secrets.io", "monitoring.coreos.com"}
"""Groups whose schemas are not at hand: their objects are only looked at by the checks."""


@pytest.fixture(scope="module", params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return render(ROOT / "k8s" / "overlays" / request.param)


def test_core_objects_have_only_fields_that_kubernetes_knows(objects: list[Object]) -> None:
    for thing in objects:
        group = thing["apiVersion"].partition("/")[0] if "/" in thing["apiVersion"] else ""
        if group not in CUSTOM | NO_SCHEMA:
            kubernetes_validate.validate(thing, SERVER, strict=True)


def test_an_unknown_field_is_found() -> None:
    thing = next(found for found in render(ROOT / "k8s" / "overlays" / "kind") if found["kind"] == "Deployment")
    thing["spec"]["template"]["spec"]["serviceAcountName"] = "typo"
    with pytest.raises(kubernetes_validate.ValidationError, match="serviceAcountName"):
        kubernetes_validate.validate(thing, SERVER, strict=True)


def test_custom_objects_fit_their_published_schemas(objects: list[Object]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    if not CRDS.is_dir():
        pytest.skip(f"no schemas of custom resources in {str(CRDS)!r}; set MMGEN_CRDS to a folder with them")
    for thing in objects:
        group, _, version = thing["apiVersion"].partition("/")
        if group in CUSTOM:
            schema = json.loads((CRDS / f"{group}_{version}_{thing['kind']}.json").read_bytes())
            jsonschema.validate(thing, closed(schema))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_what_a_schema_does_not_say_holds(objects: list[Object], check: Callable[[list[Object]], Any]) -> None:
    assert list(check(objects)) == []


def _server(thing: Object) -> Object:
    return thing["spec"]["template"]["spec"]["containers"][0]


BROKEN: dict[str, tuple[str, str, Callable[[Object], Any], str]] = {
    "root": (
        "restricted", "Deployment/mlflow",
        lambda o: o["spec"]["template"]["spec"]["securityContext"].pop("runAsNonRoot"), "runs as root",
    ),
    "writable": (
        "restricted", "StatefulSet/postgres",
        lambda o: _server(o)["securityContext"].update(readOnlyRootFilesystem=False), "may write its root",
    ),
    "capability": (
        "restricted", "CronJob/janitor",
        lambda o: o["spec"]["jobTemplate"]["spec"]["template"]["spec"]["initContainers"][0]["securityContext"].pop(
            "capabilities"
        ), "keeps capabilities",
    ),
    "tag": ("images", "Deployment/mlflow", lambda o: _server(o).update(image="mmgen-mlflow:latest"), "has no digest"),
    "above the limit": (
        "amounts", "Deployment/mlflow",
        lambda o: _server(o)["resources"]["requests"].update(memory="8Gi"), "above its limit",
    ),
    "selects nobody": (
        "selectors", "Service/mlflow", lambda o: o["spec"].update(selector={"app": "mlfow"}), "no pod has the labels",
    ),
    "its own pods": (
        "selectors", "Deployment/mlflow",
        lambda o: o["spec"]["template"]["metadata"].update(labels={"app": "other"}), "does not match its own pods",
    ),
    "port": ("selectors", "Service/mlflow", lambda o: o["spec"]["ports"][0].update(targetPort="web"), "has the port"),
    "account": (
        "references", "Deployment/mlflow",
        lambda o: o["spec"]["template"]["spec"].update(serviceAccountName="nobody"), "no service account",
    ),
    "four fields": ("schedules", "CronJob/janitor", lambda o: o["spec"].update(schedule="17 * * *"), "has 4 fields"),
    "six fields": ("schedules", "CronJob/janitor", lambda o: o["spec"].update(schedule="0 17 * * * *"), "has 6 fields"),
    "minute 61": ("schedules", "CronJob/janitor", lambda o: o["spec"].update(schedule="61 * * * *"), "not within"),
    "time zone": ("schedules", "CronJob/janitor", lambda o: o["spec"].update(timeZone="Mars/North"), "is unknown"),
    "password": (
        "secrets", "Deployment/mlflow",
        lambda o: _server(o)["env"].append({"name": "PGPASSWORD", "value": "hunter2"}), "its value in the manifest",
    ),
    "open network": (
        "networks", "NetworkPolicy/allow-dns", lambda o: o["spec"].update(egress=[{}]), "anywhere",
    ),
    "a required key": (
        "store_access", "CronJob/janitor",
        lambda o: o["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["env"][0]["valueFrom"][
            "secretKeyRef"
        ].pop("optional"), "has no optional AWS_ACCESS_KEY_ID",
    ),
    "no region": (
        "store_access", "Deployment/mlflow",
        lambda o: _server(o).update(env=[one for one in _server(o)["env"] if one["name"] != "AWS_DEFAULT_REGION"]),
        "is not told AWS_DEFAULT_REGION",
    ),
    "no certificates": (
        "store_access", "Deployment/mlflow", lambda o: _server(o)["volumeMounts"].pop(), "has no certificates",
    ),
    "changes lists": (
        "admission", "MutatingAdmissionPolicy/mmgen-restricted-pods",
        lambda o: o["spec"]["mutations"][0].update(patchType="ApplyConfiguration"), "by ApplyConfiguration",
    ),
    "private registry": (
        "pulls", "ServiceAccount/default-editor", lambda o: o.pop("imagePullSecrets"), "pulls without mmgen-registry",
    ),
    "outside": ("networks", "Service/mlflow", lambda o: o["spec"].update(type="LoadBalancer"), "from outside"),
}  # fmt: skip
"""What is broken -> the check that must find it, in which object, how, and a piece of the complaint."""


@pytest.fixture(scope="module")
def rendered() -> list[Object]:
    return render(ROOT / "k8s" / "overlays" / "kind")


@pytest.mark.parametrize("name", BROKEN)
def test_each_mistake_is_found(rendered: list[Object], name: str) -> None:
    check, where, damage, complaint = BROKEN[name]
    broken = copy.deepcopy(rendered)
    damage(next(thing for thing in broken if name_of(thing) == where))

    found = list(getattr(manifests, check)(broken))

    assert any(complaint in line for line in found), found


def test_a_namespace_without_the_closing_policy_is_found(rendered: list[Object]) -> None:
    opened = [thing for thing in rendered if name_of(thing) != "NetworkPolicy/deny-all"]
    assert "no policy closes the namespace" in list(manifests.networks(opened))


WHO = {
    "run": {"workflows.argoproj.io/workflow": "x"},
    "training": "components/trainer",
    "janitor": "components/janitor",
    "mlflow": "components/mlflow",
    "serving": "components/serving",
}
"""Who asks: labels that others give, or the component whose pods have them."""

MAY = {
    "run": {"names", "store", "mlflow", "kubernetes", "kubeflow", "artifacts"},
    "training": {"names", "store", "mlflow", "training"},
    "janitor": {"names", "store", "mlflow"},
    "mlflow": {"names", "store", "database"},
    "serving": {"names", "mlflow"},
}
"""Who -> all that it may reach."""


def _labels(who: str) -> dict[str, str]:
    wanted = WHO[who]
    if isinstance(wanted, dict):
        return wanted
    (pod,) = [pod for _, pod in manifests.pods(render(ROOT / "k8s" / wanted))]
    added = {"serving.kserve.io/inferenceservice": "emoji"} if who == "serving" else {}
    return {**pod["metadata"]["labels"], **added}


def _targets(overlay: str) -> dict[str, list[tuple[End, int, str]]]:
    """What can be reached: the ends with their ports, all of which have to be open."""

    def pod(port: int, namespace: str = "mmgen", **labels: str) -> tuple[End, int, str]:
        return (
            End(labels={name.replace("_", "-"): value for name, value in labels.items()}, namespace=namespace),
            port,
            "TCP",
        )

    def outside(address: str, port: int) -> tuple[End, int, str]:
        return End(address=address), port, "TCP"

    inside = overlay == "kind"
    dns = End(labels={"k8s-app": "kube-dns"}, namespace="kube-system")
    return {
        "names": [(dns, 53, "UDP"), (dns, 53, "TCP")],
        "store": [pod(8333, app="object-store") if inside else outside("192.0.2.33", 443)],
        "mlflow": [pod(5000, app="mlflow")],
        "database": [pod(5432, app="postgres") if inside else outside("192.0.2.17", 5432)],
        # By the address of its service, and by its own, where policies are enforced behind that.
        "kubernetes": [outside("10.96.0.1", 443), outside("172.18.0.2", 6443)]
        if inside
        else [outside("192.0.2.1", 6443)],
        "kubeflow": [
            pod(8887, "kubeflow", app="ml-pipeline"),
            pod(8888, "kubeflow", app="ml-pipeline"),
            pod(8080, "kubeflow", app="metadata-grpc-server"),
        ],
        # Its service listens on 9000, its pod on 8333.
        "artifacts": [pod(8333, "kubeflow", app="seaweedfs")],
        "training": [(End(labels=_labels("training"), namespace="mmgen"), 29500, "TCP")],
        "a run": [(End(labels=_labels("run"), namespace="mmgen"), 8080, "TCP")],
        "the internet": [outside("203.0.113.9", 443)],
    }


def reached(overlay: str, policies: list[Object], who: str) -> set[str]:
    """All that somebody reaches by the policies of an overlay."""
    asker = End(labels=_labels(who), namespace="mmgen")
    return {
        name
        for name, ends in _targets(overlay).items()
        if all(reachable(policies, asker, end, port, protocol) for end, port, protocol in ends)
    }


def _policies(overlay: str) -> list[Object]:
    return [thing for thing in render(ROOT / "k8s" / "overlays" / overlay) if thing["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_policies_let_everybody_reach_what_they_need_and_no_more(overlay: str) -> None:
    policies = _policies(overlay)

    assert {who: reached(overlay, policies, who) for who in WHO} == MAY


def test_a_training_that_no_policy_lets_out_is_found() -> None:
    policies = _policies("kind")
    opening = next(thing for thing in policies if thing["metadata"]["name"] == "allow-others-to-object-store")
    opening["spec"]["podSelector"] = {
        "matchExpressions": [{"key": "app", "operator": "In", "values": ["mlflow", "janitor"]}]
    }

    assert reached("kind", policies, "training") == MAY["training"] - {"store"}


def test_a_namespace_is_let_in_by_kubeflows_own_policies(objects: list[Object]) -> None:
    """Kubeflow 2.17 opens its object store to namespaces that carry the label of a Profile's."""
    (namespace,) = [thing for thing in objects if thing["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["app.kubernetes.io/part-of"] == "kubeflow-profile"
    assert namespace["metadata"]["labels"]["pipelines.kubeflow.org/enabled"] == "true"
    assert namespace["metadata"]["name"] == cluster_names.NAMESPACE


def test_names_that_the_code_relies_on_are_those_of_the_manifests(objects: list[Object]) -> None:
    accounts = {thing["metadata"]["name"] for thing in objects if thing["kind"] == "ServiceAccount"}
    names = {name_of(thing) for thing in objects}

    assert {cluster_names.RUNNER, cluster_names.EDITOR, cluster_names.SUBMITTER, cluster_names.SERVER} <= accounts
    assert {f"ConfigMap/{cluster_names.SETTINGS}", f"Deployment/{cluster_names.MLFLOW}"} <= names
    assert {cluster_names.OBJECT_STORE, cluster_names.DATABASE} == SECRETS.keys()


def test_mlflow_listens_to_the_names_that_people_and_pods_ask_by(objects: list[Object]) -> None:
    server = next(thing for thing in objects if name_of(thing) == "Deployment/mlflow")
    (hosts,) = [word.partition("=")[2].split(",") for word in _server(server)["args"] if "allowed-hosts" in word]

    for name in ("mlflow:5000", "mlflow.mmgen:5000", "mlflow.mmgen.svc:5000", "localhost:5000", "127.0.0.1:15000"):
        assert any(fnmatch.fnmatch(name, host) for host in hosts), name
    assert not any(fnmatch.fnmatch("evil.example.org", host) for host in hosts)


def test_what_the_overlay_offers_as_a_comment_renders(tmp_path: Path) -> None:
    """Region, private authority and a role in place of keys: whoever takes the comments away gets what they say."""
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    overlay = tmp_path / "k8s" / "overlays" / "prod"
    lines = (overlay / "kustomization.yaml").read_text().splitlines()
    (overlay / "kustomization.yaml").write_text("\n".join(re.sub(r"^  # (?=[- ] )", "  ", line) for line in lines))

    objects = {name_of(thing): thing for thing in render(overlay)}

    assert objects["ConfigMap/mmgen-settings"]["data"].keys() >= set(STORE) - {"AWS_ENDPOINT_URL_S3"}
    for account in ("mmgen-runner", "mmgen-server", "default-editor"):
        assert "eks.amazonaws.com/role-arn" in objects[f"ServiceAccount/{account}"]["metadata"]["annotations"]
    assert "annotations" not in objects["ServiceAccount/mmgen-promoter"]["metadata"]
    assert "ExternalSecret/object-store" not in objects
    assert "ExternalSecret/mlflow-database" in objects


def test_files_are_plain_yaml() -> None:
    files = sorted(str(path) for path in (ROOT / "k8s").rglob("*.yaml"))
    rules = ROOT / "k8s" / ".yamllint"
    line = [str(Path(sys.executable).with_name("yamllint")), "--strict", "-c", str(rules), *files]
    done = subprocess.run(line, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
