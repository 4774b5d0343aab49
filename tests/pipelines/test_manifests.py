"""Every overlay renders, fits the schemas of its kinds, and holds what only a server would refuse.

No API server can be had in tests: nothing here says that Kubernetes would take these objects, only that their fields
and versions are those published, and that the mistakes listed in `tests/manifests.py` are not in them.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import manifests
from tests.manifests import CHECKS, CRDS, ROOT, SERVER, Object, closed, name_of, render

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


def test_files_are_plain_yaml() -> None:
    files = sorted(str(path) for path in (ROOT / "k8s").rglob("*.yaml"))
    rules = ROOT / "k8s" / ".yamllint"
    line = [str(Path(sys.executable).with_name("yamllint")), "--strict", "-c", str(rules), *files]
    done = subprocess.run(line, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
