"""`mmgen cluster check` says of a cluster what a run would miss, and nothing of one that has it all.

The cluster is `kubernetes_api.py` of tests/support/cluster, which stands in for an API server and says what of it is
there; it holds the objects of overlays/kind as kustomize renders them, and what Kubeflow's profile controller adds.
Kubeflow's own API is `kfp_api.py` beside it. MLflow is a few lines here that refuse names as MLflow 3.17 does.
"""

from __future__ import annotations

import dataclasses
import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmgen.ops.distributed import cluster_names
from pipelines.cluster import compile as compiling
from pipelines.cluster import profiles
from pipelines.cluster.check import examine as examining
from pipelines.cluster.check import inside, mlflow
from pipelines.cluster.check import jobs as looking
from pipelines.cluster.check.examine import examine
from pipelines.cluster.check.findings import Finding, good
from pipelines.cluster.compile import compiled
from pipelines.cluster.images import Images
from tests.support.cluster.kfp_api import StandIn
from tests.support.cluster.kubernetes_api import Kubernetes
from tests.support.cluster.manifests import ROOT, Object, render
from tests.support.s3 import ACCESS, BUCKET, SECRET, Server

COMPILED = functools.cache(compiled)
"""Compiling takes longer than all else here, and gives the same bytes each time."""
IMAGES = Images(cpu=f"example.org/a/cpu@sha256:{'a' * 64}", gpu=f"example.org/a/gpu@sha256:{'b' * 64}")


def _object(kind: str, name: str, **content: Any) -> Object:
    return {"kind": kind, "metadata": {"name": name}, **content}


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """overlays/kind with images by digest and the trainer's runtime, as somebody who trains over nodes has it."""
    overlay = ROOT / "k8s" / "overlays" / "kind"
    objects = [*render(overlay), yaml.safe_load((ROOT / "k8s/components/trainer/runtime.yaml").read_text())]
    return yaml.safe_load(yaml.safe_dump(objects).replace("0" * 64, "c" * 64))  # type: ignore[no-any-return]


@pytest.fixture
def cluster(rendered: list[Object]) -> Iterator[Kubernetes]:
    """A cluster in which a run finds all that it needs."""
    of_kubeflow = [
        _object("ConfigMap", "kfp-launcher", data={"defaultPipelineRoot": "minio://mlpipeline/x"}),
        _object("Secret", "mlpipeline-minio-artifact", data={"accesskey": "YQ==", "secretkey": "YQ=="}),
    ]
    by_hand = [
        _object("Secret", "object-store", data={"access-key-id": "YQ==", "secret-access-key": "YQ=="}),
        _object("Secret", "mlflow-database", data={"uri": "YQ==", "password": "YQ=="}),
    ]
    with Kubernetes([*rendered, *of_kubeflow, *by_hand]) as standing:
        standing.find("Deployment", "mlflow")["status"] = {"availableReplicas": 1}
        yield standing


@pytest.fixture
def kubeflow() -> Iterator[StandIn]:
    with StandIn() as api:
        api.multi_user = True
        yield api


Look = Callable[..., list[Finding]]


@pytest.fixture
def look(cluster: Kubernetes, kubeflow: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """What the check says of `cluster` and `kubeflow`."""
    monkeypatch.setattr(compiling, "compiled", COMPILED)
    named = {"KUBECONFIG": cluster.kubeconfig(tmp_path), "KFP_ENDPOINT": kubeflow.endpoint}

    def looked(profile: str = "cpu", *, inside: bool = False, **environment: str) -> list[Finding]:
        return list(examine("mmgen", profile, IMAGES, inside=inside, environment={**named, **environment}))

    return looked


def missing(findings: list[Finding]) -> list[str]:
    return [f"{finding.what}: {finding.found}; {finding.way_out}" for finding in findings if finding.ok is False]


def test_a_cluster_that_has_everything_lacks_nothing(look: Look, cluster: Kubernetes) -> None:
    found = look()

    assert missing(found) == []
    assert good("images of servers", "3 by digest") in found
    assert {finding.what for finding in found if finding.ok is None} == {"bucket from here", "MLflow from here"}
    assert all(finding.way_out for finding in found if finding.ok is None)
    assert not [
        path
        for method, path, _ in cluster.seen
        if method == "POST" and "subjectaccess" not in path and "/pods" not in path
    ]
    assert "example.org" not in json.dumps([thing for thing in cluster.objects if thing["kind"] == "Pod"])


def _fault_2(cluster: Kubernetes) -> None:
    cluster.remove("ServiceAccount", "default-editor")


def _fault_3(cluster: Kubernetes) -> None:
    old = 'Object{spec: Object.spec{containers: object.spec.containers.map(c, ...capabilities{drop: ["ALL"]})}}'
    cluster.find("MutatingAdmissionPolicy", "mmgen-restricted-pods")["spec"]["mutations"] = [
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": old}}
    ]


def _fault_4(cluster: Kubernetes) -> None:
    role = cluster.find("Role", "mmgen-runner")
    role["rules"] = [rule for rule in role["rules"] if rule["apiGroups"] != [""]]


def _arguments(cluster: Kubernetes) -> list[str]:
    found: list[str] = cluster.find("Deployment", "mlflow")["spec"]["template"]["spec"]["containers"][0]["args"]
    return found


def _fault_7(cluster: Kubernetes) -> None:
    arguments = _arguments(cluster)
    arguments[:] = [word.partition(",localhost")[0] for word in arguments]


def _fault_14(cluster: Kubernetes) -> None:
    cluster.find("NetworkPolicy", "allow-others-to-object-store")["spec"]["podSelector"] = {
        "matchExpressions": [{"key": "app", "operator": "In", "values": ["mlflow", "janitor"]}]
    }


def _store(cluster: Kubernetes) -> Object:
    data: Object = cluster.find("ConfigMap", "mmgen-settings")["data"]
    return data


FAULTS: dict[str, tuple[Callable[[Kubernetes], Any], list[str]]] = {
    "2: the account of runs from the pages": (_fault_2, ["account default-editor: is not there"]),
    "2: our own account": (
        lambda c: c.remove("ServiceAccount", "mmgen-runner"),
        ["account mmgen-runner: is not there", "pod of a task: the server refuses it"],
    ),
    "3: a policy that breaks every pod": (
        _fault_3,
        ["pod of a task: the server refuses it: policy 'mmgen-restricted-pods' denied request: invalid Apply"],
    ),
    "3: a policy that closes the drivers as well": (
        lambda c: c.find("MutatingAdmissionPolicy", "mmgen-restricted-pods")["spec"].pop("matchConditions"),
        ["pod of a driver: its root file system would be read-only"],
    ),
    "4: rights of every run": (
        _fault_4,
        [
            "account mmgen-runner: may not get configmaps/kfp-launcher, which Kubeflow's driver does",
            "account mmgen-runner: may not get secrets/mlpipeline-minio-artifact, which Kubeflow's launcher does",
            "account default-editor: may not get configmaps/kfp-launcher",
        ],
    ),
    "4: nobody bound the account of the pages": (
        lambda c: c.find("RoleBinding", "mmgen-runner")["subjects"].pop(),
        ["account default-editor: may not create workflowtaskresults"],
    ),
    "7: names that MLflow refuses": (
        _fault_7, ["MLflow's server: refuses whoever asks by the name localhost:5000, 127.0.0.1:5000"],
    ),
    "14: a training that cannot reach the store": (
        _fault_14, ["network from a training over nodes to the object store: no policy lets pods labelled"],
    ),
    "14: a run that MLflow does not let in": (
        lambda c: c.remove("NetworkPolicy", "allow-mlflow"), ["network from a run to MLflow: no policy"],
    ),
    "no namespace": (lambda c: c.find("Namespace", "mmgen")["metadata"]["labels"].clear(), ["namespace mmgen: lacks"]),
    "no launcher": (lambda c: c.remove("ConfigMap", "kfp-launcher"), ["settings kfp-launcher: there is no such"]),
    "no settings": (lambda c: c.remove("ConfigMap", "mmgen-settings"), ["settings mmgen-settings: there is no such"]),
    "no tracker": (lambda c: _store(c).pop("MLFLOW_TRACKING_URI"), ["settings mmgen-settings: lacks MLFLOW_TRACK"]),
    "no authority": (
        lambda c: _store(c).update(AWS_CA_BUNDLE="/etc/mmgen/authorities/ca.crt"),
        ["settings object-store-ca: the settings name /etc/mmgen/authorities/ca.crt"],
    ),
    "no keys": (lambda c: c.remove("Secret", "object-store"), ["secret object-store: there is no such Secret"]),
    "half a key": (
        lambda c: c.find("Secret", "object-store")["data"].pop("secret-access-key"),
        ["secret object-store: lacks the key secret-access-key"],
    ),
    "no password": (lambda c: c.remove("Secret", "mlflow-database"), ["secret mlflow-database: there is no such"]),
    "MLflow is down": (lambda c: c.find("Deployment", "mlflow").pop("status"), ["MLflow's server: no replica"]),
    "an image that nobody named": (
        lambda c: c.find("Deployment", "mlflow")["spec"]["template"]["spec"]["containers"][0].update(
            image=f"registry.example.org/mmgen/mlflow@sha256:{'0' * 64}"
        ), ["images of servers: mlflow/mlflow has registry.example.org"],
    ),
    "a full quota": (
        lambda c: c.find("ResourceQuota", "mmgen").update(
            status={"hard": {"requests.memory": "24Gi"}, "used": {"requests.memory": "22Gi"}}
        ), ["quota mmgen: 22Gi of 24Gi requests.memory are taken, and stage judge of 'cpu' asks for 4Gi"],
    ),
    "a small quota": (
        lambda c: c.find("ResourceQuota", "mmgen")["spec"]["hard"].update({"limits.cpu": "2"}),
        ["quota mmgen: limits.cpu is 2, and stage judge of profile 'cpu' asks for 4"],
    ),
    "small limits": (
        lambda c: c.find("LimitRange", "mmgen")["spec"]["limits"][0].update(max={"memory": "4Gi"}),
        ["limits mmgen: memory of a container is at most 4Gi, and stage judge has 8Gi"],
    ),
}  # fmt: skip
"""What is broken -> how, and how lines begin that say so."""


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_missing_is_said_with_its_way_out(look: Look, cluster: Kubernetes, name: str) -> None:
    damage, said = FAULTS[name]
    damage(cluster)

    found = look()

    lines = missing(found)
    assert all(any(line.startswith(wanted) for line in lines) for wanted in said), lines
    assert all(finding.way_out for finding in found if not finding.ok)


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("gpu", "quota mmgen: requests.nvidia.com/gpu is 0, and stage judge of profile 'gpu' asks for 1; add k8s"),
        ("nodes", "quota mmgen: requests.cpu is 6, and stage train of profile 'nodes' asks for 32"),
        ("nodes-cpu", ""),
    ],
)
def test_a_profile_is_held_against_the_quota(look: Look, profile: str, said: str) -> None:
    lines = missing(look(profile))

    assert any(line.startswith(said) for line in lines) if said else lines == []


def test_a_profile_over_nodes_needs_what_trains_them(look: Look, cluster: Kubernetes) -> None:
    cluster.find("Role", "mmgen-runner")["rules"].pop()
    cluster.kinds["kueue.x-k8s.io/v1beta2"] = ["localqueues"]
    assert {line.partition(":")[0] for line in missing(look("nodes-cpu"))} == {
        "account mmgen-runner", "account default-editor", "queue mmgen",
    }  # fmt: skip
    assert missing(look("cpu")) == []

    cluster.kinds.clear()

    assert any(line.startswith("kinds of Kubeflow Trainer: profile 'nodes-cpu'") for line in missing(look("nodes-cpu")))
    assert missing(look("cpu")) == []


def test_without_reviews_rights_are_read_from_roles_and_without_roles_nothing_is_claimed(
    look: Look, cluster: Kubernetes
) -> None:
    cluster.forbidden = {"subjectaccessreviews"}
    assert missing(look()) == []
    _fault_4(cluster)
    assert any("may not get secrets/mlpipeline-minio-artifact" in line for line in missing(look()))

    cluster.forbidden |= {"roles", "rolebindings", "secrets", "pods", "namespaces", "deployments"}
    found = look()

    assert missing(found) == []
    unknown = {finding.what for finding in found if finding.ok is None}
    assert {"account mmgen-runner", "secret mlpipeline-minio-artifact", "pod of a task", "namespace"} <= unknown


def test_a_role_stands_for_keys(look: Look, cluster: Kubernetes) -> None:
    cluster.remove("Secret", "object-store")
    account = cluster.find("ServiceAccount", "mmgen-runner")
    account["metadata"]["annotations"] = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/mmgen"}

    assert missing(look()) == []


def test_what_is_not_named_is_said_and_the_rest_is_looked_at(look: Look) -> None:
    no_kubeflow = missing(look(KFP_ENDPOINT=""))
    no_kubernetes = look(KUBECONFIG="/nowhere")

    assert len(no_kubeflow) == 1
    assert no_kubeflow[0].startswith("Kubeflow: no cluster is named; set KFP_ENDPOINT")
    assert [line.partition(":")[0] for line in missing(no_kubernetes)] == ["Kubernetes"]
    assert "set KUBECONFIG" in missing(no_kubernetes)[0]
    assert good("Kubeflow's answer to us", "we may list runs of namespace mmgen") in no_kubernetes


def test_kubeflows_plugin_is_seen_in_a_run_and_may_write_every_variable_that_it_likes(
    look: Look, kubeflow: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_plugin = [finding for finding in look() if finding.what == "Kubeflow's MLflow plugin"]
    assert "only a run or this shows" in of_plugin[0].found

    monkeypatch.setattr(compiling, "compiled", compiled)
    monkeypatch.setitem(profiles.SETTINGS, "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_URI")  # fault 11

    assert any(
        line.startswith("Kubeflow's MLflow plugin: the pipeline takes MLFLOW_TRACKING_URI from a ConfigMap")
        for line in missing(look())
    )


def _told(*findings: Finding) -> str:
    return f"a warning\n{inside.MARK}{json.dumps([dataclasses.asdict(finding) for finding in findings])}\n"


def test_pods_look_around_with_the_labels_and_the_account_of_a_run_and_go_away(look: Look, cluster: Kubernetes) -> None:
    blocked = Finding(what="bucket", ok=False, found="cannot be reached", way_out="look at policies")
    cluster.logs = {"mmgen-check-run": _told(good("bucket", "answers")), "mmgen-check-training": _told(blocked)}

    found = look(inside=True)

    assert missing(found) == ["pod of a training: bucket: cannot be reached; look at policies"]
    assert good("pod of a run: bucket", "answers") in found
    made = {
        body["metadata"]["name"].split("-")[2]: body for method, path, body in cluster.seen if "/jobs" in path and body
    }
    assert made["run"]["spec"]["template"]["metadata"]["labels"] == {"workflows.argoproj.io/workflow": "mmgen-check"}
    assert made["training"]["spec"]["template"]["metadata"]["labels"] == {
        "mmgen/role": "training", "mmgen/asks": "mlflow", "mmgen/reaches": "object-store",
    }  # fmt: skip
    for name, image in (("run", IMAGES.cpu), ("training", IMAGES.gpu)):
        pod = made[name]["spec"]["template"]["spec"]
        assert (pod["serviceAccountName"], pod["containers"][0]["image"]) == (cluster_names.RUNNER, image)
        assert {"name": "MMGEN_ROOT", "value": "s3://mmgen/runs"} in pod["containers"][0]["env"]
    assert not [thing for thing in cluster.objects if thing["kind"] == "Job"]


def test_a_pod_whose_image_cannot_be_pulled_says_so(look: Look, cluster: Kubernetes) -> None:
    cluster.waiting = {"reason": "ImagePullBackOff", "message": "401 Unauthorized"}

    lines = missing(look(inside=True))

    assert lines[0].startswith("pod of a run: its image cannot be pulled (ImagePullBackOff): 401 Unauthorized; check")
    assert not [thing for thing in cluster.objects if thing["kind"] == "Job"]


def test_a_pod_without_an_answer_shows_its_last_line(look: Look, cluster: Kubernetes) -> None:
    cluster.logs = {"mmgen-check": "No module named pipelines.cluster.check\n"}

    assert "its last line: No module named pipelines.cluster.check; build and push" in missing(look(inside=True))[0]


def test_a_pod_that_never_ends_is_given_up(look: Look, cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "LONGEST_SECONDS", 0.2)
    monkeypatch.setattr(looking, "LOOK_SECONDS", 0.05)
    cluster.waiting = {"reason": "ContainerCreating"}

    assert "it has not ended" in missing(look(inside=True))[0]


class _Mlflow(http.server.BaseHTTPRequestHandler):
    """Answers a question, and refuses every name but its own as MLflow 3.17 does with --allowed-hosts."""

    allowed = ("127.0.0.1",)

    def do_GET(self) -> None:
        known = self.headers["Host"].partition(":")[0] in self.allowed
        body = b"{}" if known else b"Invalid Host header - possible DNS rebinding attack detected"
        self.send_response(200 if known else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def tracker() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Mlflow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_tracker_that_refuses_the_name_it_is_asked_by_is_found(
    look: Look, tracker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert missing(look(MLFLOW_TRACKING_URI=tracker)) == []
    (by_another,) = mlflow.answers(tracker, inside=True, host=mlflow.FORWARDED[0])
    assert "refuses the name 'localhost:5000': Invalid Host header" in by_another.found

    monkeypatch.setattr(_Mlflow, "allowed", ("mlflow",))

    (line,) = missing(look(MLFLOW_TRACKING_URI=tracker))
    assert line.startswith(f"MLflow from here: {tracker} refuses the name '127.0.0.1")
    assert "--allowed-hosts" in line


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("weed"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def keys(store: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"ENDPOINT_URL_S3": store.endpoint, "ACCESS_KEY_ID": ACCESS, "SECRET_ACCESS_KEY": SECRET}
    for name, value in {**told, "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)


@pytest.mark.usefixtures("keys")
def test_a_bucket_takes_gives_back_and_deletes(look: Look, store: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    found = look(MMGEN_ROOT=f"s3://{BUCKET}/checked")
    assert good("bucket from here", f"s3://{BUCKET}/checked takes, gives back and deletes an object") in found
    assert "Contents" not in store.client.list_objects_v2(Bucket=BUCKET, Prefix="checked/")

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "bucket from here" in missing(look(MMGEN_ROOT=f"s3://{BUCKET}/checked"))[0]


def test_a_kubernetes_api_at_another_address_is_pointed_out(look: Look, cluster: Kubernetes) -> None:
    found = _object("EndpointSlice", "kubernetes", ports=[{"port": 6443}], endpoints=[{"addresses": ["172.18.0.3"]}])
    found["metadata"]["labels"] = {"kubernetes.io/service-name": "kubernetes"}
    cluster.objects.append(found)
    assert good("network from a run to Kubernetes", "the policies allow 172.18.0.3:6443") in look()

    found["endpoints"] = [{"addresses": ["192.0.2.9"]}]

    (said,) = [finding for finding in look() if finding.what == "network from a run to Kubernetes"]
    assert said.ok is None
    assert "no policy allows 192.0.2.9:6443" in said.found


@pytest.mark.usefixtures("keys")
def test_a_pod_says_what_it_sees_in_one_line_of_json(tracker: str) -> None:
    told = {"MMGEN_ROOT": f"s3://{BUCKET}/runs", "MMGEN_TRACKING_URI": tracker, "MMGEN_CHECK_AS": "training"}
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cluster.check.inside"],
        env={**os.environ, **told}, check=True, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip

    found = json.loads(done.stdout.removeprefix(inside.MARK))
    assert [(one["what"], one["ok"]) for one in found] == [
        ("bucket", True), ("MLflow", True), ("MLflow asked as localhost:5000", False),
    ]  # fmt: skip


def test_the_command_answers_in_json_and_by_its_exit_code(
    cluster: Kubernetes, kubeflow: StandIn, tmp_path: Path
) -> None:
    where = {"KUBECONFIG": cluster.kubeconfig(tmp_path), "KFP_ENDPOINT": kubeflow.endpoint, "KFP_NAMESPACE": "mmgen"}
    images = f"cpu={IMAGES.cpu} gpu={IMAGES.gpu}"

    def asked(*words: str, images: str = images) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipelines.cli", "cluster", "check", *words],
            env={**os.environ, **where, "MMGEN_IMAGES": images}, check=False, capture_output=True, text=True, cwd=ROOT,
        )  # fmt: skip

    whole = asked("--json")
    assert whole.returncode == 0, whole.stderr
    assert {"what", "ok", "found", "way_out"} == set(json.loads(whole.stdout)[0])

    _fault_4(cluster)
    lacking = asked(images="cpu=a:1 gpu=b:1")
    assert lacking.returncode == 10
    assert "--  images of tasks: image cpu='a:1' has no digest; write NAME@sha256" in lacking.stdout
    assert "--  account mmgen-runner: may not get configmaps/kfp-launcher" in lacking.stdout
    assert lacking.stderr == ""


def test_every_check_is_asked_and_one_that_fails_does_not_hide_the_others(
    look: Look, cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> Iterator[Finding]:
        raise examining.Refused(500, "etcd is gone")
        yield

    monkeypatch.setattr(examining, "CHECKS", (broken, *examining.CHECKS))

    assert missing(look()) == ["broken: Kubernetes answered 500: etcd is gone; ask somebody who may look at it"]
