"""A TrainJob is created, watched and deleted by the task that asked for it, whatever becomes of either.

No API server of Kubernetes can be had here. `Api` stands for the three calls that are used: it keeps one namespace's
objects, answers 409 and 404, lets an object that is deleted linger, and holds what is created against the published
schema where that is at hand. It has no admission (webhooks, quotas, roles), no Trainer and no pods: a test says which
status comes next.
"""

from __future__ import annotations

import dataclasses
import http.server
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmgen.errors import BudgetError, ConfigError, MmgenError, OutOfMemoryError, TrainingError, WorkersError
from mmgen.files import write_json
from mmgen.ops.distributed import torchrun, trainjob
from mmgen.ops.runs import ledger
from mmgen.ops.runs.cache import run_stage
from mmgen.ops.runs.run import Run
from mmgen.progress import Progress
from mmgen.training.config import TrainingConfig
from tests.support.cluster.manifests import CRDS, ROOT, closed
from tests.support.runs import small_run

IMAGE = f"registry.example.org/mmgen/gpu@sha256:{'a' * 64}"
ASKED = {"MMGEN_TRAIN_NODES": "2", "MMGEN_TRAIN_NODE_GPUS": "4", "MMGEN_TRAIN_IMAGE": IMAGE}
PATH = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team/trainjobs"


def status(kind: str) -> dict[str, Any]:
    condition = {"type": kind, "status": "True", "reason": "JobsDone", "message": "said by a test"}
    return {"conditions": [{**condition, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}


class Api:
    """Objects of one namespace behind HTTP."""

    def __init__(self) -> None:
        self.url = ""
        self.objects: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.created: list[dict[str, Any]] = []
        self.next: list[Callable[[], dict[str, Any]]] = []
        self.failures: list[int] = []

    def answer(self, verb: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        assert path.startswith(PATH), path
        name = path.removeprefix(PATH).removeprefix("/")
        self.calls.append(verb)
        if self.failures:
            return self.failures.pop(0), {"message": "made to fail by a test"}
        if verb == "POST":
            made = json.loads(body)
            name = made["metadata"]["name"]
            if name in self.objects:
                return 409, {"reason": "AlreadyExists"}
            if CRDS.is_dir():
                import jsonschema

                kind = "trainer.kubeflow.org_v1alpha1_TrainJob.json"
                jsonschema.validate(made, closed(json.loads((CRDS / kind).read_bytes())))
            self.objects[name] = made
            self.created.append(made)
            return 201, made
        if name not in self.objects:
            return 404, {"reason": "NotFound"}
        found = self.objects[name]
        if verb == "DELETE":
            found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        elif "deletionTimestamp" in found["metadata"]:
            del self.objects[name]  # its pods have ended
        elif self.next:
            found["status"] = self.next.pop(0)()
        return 200, found


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    stand_in = Api()

    class Handler(http.server.BaseHTTPRequestHandler):
        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            code, value = stand_in.answer(self.command, self.path, body)
            content = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = respond

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    monkeypatch.setattr(trainjob, "POLL_SECONDS", 0.01)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        stand_in.url = f"http://127.0.0.1:{server.server_port}"
        yield stand_in
        server.shutdown()
        thread.join()


@pytest.fixture
def watcher(api: Api) -> Iterator[trainjob.Watcher]:
    from kubernetes.client import ApiClient, Configuration, CustomObjectsApi

    with ApiClient(Configuration(host=api.url)) as client:
        yield trainjob.Watcher(CustomObjectsApi(client), "team")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    found = small_run(tmp_path)
    training = TrainingConfig(processes=8, device="cuda")
    return dataclasses.replace(found, recipe=dataclasses.replace(found.recipe, training=training))


def watch(watcher: trainjob.Watcher, run: Run) -> Any:
    return watcher.train(run, Progress(), "kfp-1", trainjob.Nodes.asked(run, ASKED))


def sealed(run: Run) -> Callable[[], dict[str, Any]]:
    """What the pods do before their TrainJob is complete."""

    def work() -> dict[str, Any]:
        made = run_stage("train", run.keys.stages["train"], run.root, _fill, facts=run.facts("train"))
        assert made.state == "ran"
        return status("Complete")

    return work


def _fill(out: Path) -> None:
    write_json(out / "training.json", {"processes": 8})


def test_a_trainjob_is_created_watched_and_removed_once_its_model_is_sealed(
    api: Api, watcher: trainjob.Watcher, run: Run
) -> None:
    api.next = [dict, lambda: status("Suspended"), sealed(run)]

    result = watch(watcher, run)

    assert (result.state, result.folder) == ("ran", run.folder("train"))
    assert api.calls == ["POST", "GET", "GET", "GET", "DELETE"]
    spec = api.created[0]["spec"]["trainer"]
    assert (spec["numNodes"], spec["numProcPerNode"], spec["image"]) == (2, 4, IMAGE)
    assert spec["resourcesPerNode"]["limits"] == {"cpu": "16", "memory": "96Gi", "nvidia.com/gpu": "4"}
    assert spec["args"][:3] == ["-m", "mmgen.ops.stages.worker", "emoji"]


def test_a_task_that_is_tried_again_watches_the_trainjob_that_is_at_work(
    api: Api, watcher: trainjob.Watcher, run: Run
) -> None:
    name = trainjob.name_of(run)
    api.objects[name] = {"metadata": {"name": name}, "status": {}}
    api.next = [dict, sealed(run)]

    assert watch(watcher, run).state == "ran"
    assert api.created == []


@pytest.mark.parametrize("ended", ["Failed", "Complete"])
def test_a_trainjob_that_has_ended_makes_room_for_a_new_one(
    api: Api, watcher: trainjob.Watcher, run: Run, ended: str
) -> None:
    name = trainjob.name_of(run)
    api.objects[name] = {"metadata": {"name": name}, "status": status(ended)}
    api.next = [lambda: status(ended), sealed(run)]

    assert watch(watcher, run).state == "ran"
    assert len(api.created) == 1


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        ("training", TrainingError),
        ("memory", OutOfMemoryError),
        ("budget", BudgetError),
        ("configuration", ConfigError),
        ("bug", WorkersError),
        (None, WorkersError),
    ],
)
def test_a_trainjob_that_failed_ends_with_the_reason_in_the_ledger(
    api: Api, watcher: trainjob.Watcher, run: Run, outcome: str | None, kind: type[MmgenError]
) -> None:
    written = ledger.ledger_of(run, "train")
    written.parent.mkdir(parents=True)
    if outcome:
        written.write_text(json.dumps({"attempt": 1, "outcome": outcome}) + "\n")
    api.next = [dict, lambda: status("Failed")]

    with pytest.raises(kind, match=r"TrainJob mmgen-\w+: Failed \(JobsDone\) said by a test") as caught:
        watch(watcher, run)

    assert type(caught.value) is kind
    assert "DELETE" not in api.calls  # its pods are left to look at


def test_a_task_that_is_stopped_deletes_its_trainjob(api: Api, watcher: trainjob.Watcher, run: Run) -> None:
    def stop() -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    api.next = [dict, stop]

    with pytest.raises(KeyboardInterrupt):
        watch(watcher, run)

    assert api.calls[-1] == "DELETE"


def test_an_api_that_stumbles_is_asked_again_and_one_that_refuses_is_not(
    api: Api, watcher: trainjob.Watcher, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.failures = [500, 503, 429]
    api.next = [sealed(run)]
    assert watch(watcher, run).state == "ran"

    other = dataclasses.replace(run, keys=small_run(run.root, 2).keys)
    api.failures, api.calls = [422], []
    with pytest.raises(ConfigError, match=r"the cluster refuses a TrainJob: 422 .*made to fail by a test"):
        watch(watcher, other)
    assert api.calls == ["POST"]

    monkeypatch.setattr(trainjob, "PATIENCE", 2)
    api.failures = [500] * 2
    with pytest.raises(WorkersError, match="does not answer"):
        watch(watcher, other)


@pytest.mark.parametrize(
    ("changed", "training", "said"),
    [
        ({"MMGEN_TRAIN_IMAGE": "mmgen:latest"}, {}, "expected an image by digest"),
        ({}, {"processes": 6}, r"--set training.processes=8"),
        ({}, {"device": "cpu"}, r"--set training.device=cuda"),
        ({"MMGEN_TRAIN_NODE_GPUS": "0"}, {}, r"--set training.device=cpu"),
        ({"MMGEN_TRAIN_NODE_GPUS": "0"}, {"processes": 3}, r"--set training.processes=2"),
    ],
)
def test_a_recipe_that_does_not_fit_the_nodes_is_refused_with_the_way_out(
    run: Run, changed: dict[str, str], training: dict[str, Any], said: str
) -> None:
    recipe = dataclasses.replace(run.recipe, training=dataclasses.replace(run.recipe.training, **training))
    with pytest.raises(ConfigError, match=said):
        trainjob.Nodes.asked(dataclasses.replace(run, recipe=recipe), {**ASKED, **changed})


def test_a_manifest_has_no_secrets_and_the_names_of_the_cluster(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("MLFLOW_RUN_ID", "f" * 32)
    made = trainjob.manifest(run, trainjob.Nodes.asked(run, ASKED), "kfp-1")

    assert "hunter2" not in json.dumps(made)
    assert made["spec"]["trainer"]["env"] == [{"name": "MLFLOW_RUN_ID", "value": "f" * 32}]
    runtime = yaml.safe_load((ROOT / "k8s/components/trainer/runtime.yaml").read_text())
    assert runtime["metadata"]["name"] == made["spec"]["runtimeRef"]["name"]
    pod = runtime["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    assert pod["metadata"]["labels"]["mmgen/role"] == made["metadata"]["labels"]["mmgen/role"]
    queues = list(yaml.safe_load_all((ROOT / "k8s/components/kueue/queues.yaml").read_text()))
    local = next(found for found in queues if found["kind"] == "LocalQueue")
    assert local["metadata"]["name"] == made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]


def test_the_tasks_environment_chooses_nodes_the_recipe_processes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert torchrun.watcher(run) is torchrun.train
    assert torchrun.watcher(small_run(run.root)) is None
    for name, value in ASKED.items():
        monkeypatch.setenv(name, value)
    assert torchrun.watcher(run) is trainjob.train
    with pytest.raises(ConfigError, match="no pod with a token of the cluster"):
        trainjob.train(run, Progress(), "")
