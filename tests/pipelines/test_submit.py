"""Submitting to a cluster: one run a run key, whoever asks and however often, and every refusal one line.

There is no Kubeflow API server here: `tests/kfp_api.py` stands in for it, and says what it does not check.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmgen.errors import ConfigError, MmgenError
from mmgen.ops.stages import run_stage
from pipelines.cluster import auth, schedules, server
from pipelines.cluster import submit as submitting
from pipelines.cluster.auth import ClusterError, credentials
from pipelines.cluster.client import connect
from pipelines.cluster.images import UNPUSHED
from pipelines.cluster.submit import claims, submit
from tests import submitting as submitted
from tests.argo import attempt
from tests.kfp_api import StandIn
from tests.submitting import cluster_of, request_of, verb
from tests.unit.runs import fill_gate, small_run
from tests.whole_run import command, place

api = submitted.api


def test_a_run_is_named_by_its_run_key_and_given_the_pipelines_parameters(api: StandIn, tmp_path: Path) -> None:
    done = submit(cluster_of(api), request_of(tmp_path), if_new=True, claim=claims(tmp_path))

    (run,) = api.runs.values()
    (experiment,) = api.experiments.values()
    assert (done.started, run["display_name"]) == (True, "emoji-0001aaaabbbbcccc")
    assert experiment["display_name"] == "mmgen"
    assert done.run is not None
    assert done.run.link == f"{api.endpoint}/#/runs/details/{run['run_id']}"
    assert run["runtime_config"]["parameters"] == {
        "recipe": "emoji",
        "settings": "",
        "root": "/mnt/runs",
        "data": "/mnt/data",
        "promote": False,
    }
    uploaded = api.specs[run["pipeline_version_reference"]["pipeline_version_id"]]
    assert uploaded == next(yaml.safe_load_all(submitting.content(request_of(tmp_path))))


@pytest.mark.parametrize(("named", "used"), [(None, "mmgen-runner"), ("pipeline-runner", "pipeline-runner")])
def test_the_pods_run_under_our_account_unless_another_one_is_named(
    api: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None, used: str
) -> None:
    if named:
        monkeypatch.setenv("MMGEN_SERVICE_ACCOUNT", named)
    request = submitting.request(
        small_run(tmp_path), False, UNPUSHED, cluster_root="/mnt/runs", cluster_data="/mnt/data"
    )

    submit(cluster_of(api), request, if_new=False, claim=claims(tmp_path))
    schedules.replace(cluster_of(api), request, "0 30 4 * * 1")

    (run,), (schedule,) = api.runs.values(), api.recurring.values()
    assert (run["service_account"], schedule["service_account"]) == (used, used)


def test_a_live_run_is_found_and_nothing_is_sent(api: StandIn, tmp_path: Path) -> None:
    first = submit(cluster_of(api), request_of(tmp_path), if_new=True, claim=claims(tmp_path))
    api.seen.clear()

    second = submit(cluster_of(api), request_of(tmp_path), if_new=True, claim=claims(tmp_path))

    assert (second.started, second.run) == (False, first.run)
    assert {method for method, *_ in api.seen} == {"GET"}
    assert len(api.runs) == 1


@pytest.mark.parametrize(("state", "runs"), [("SUCCEEDED", 1), ("PAUSED", 1), ("FAILED", 2), ("CANCELED", 2)])
def test_only_a_run_that_died_is_submitted_again(api: StandIn, tmp_path: Path, state: str, runs: int) -> None:
    cluster = cluster_of(api)
    submit(cluster, request_of(tmp_path), if_new=True, claim=claims(tmp_path))
    for run in api.runs.values():
        run["state"] = state

    submit(cluster, request_of(tmp_path), if_new=True, claim=claims(tmp_path))

    assert len(api.runs) == runs


def test_a_model_that_is_registered_already_starts_nothing(api: StandIn, tmp_path: Path) -> None:
    request = request_of(tmp_path)
    run = request.run
    run_stage("register", run.keys.stages["register"], tmp_path, lambda out: None, facts=run.facts("register"))

    done = submit(cluster_of(api), request, if_new=True, claim=claims(tmp_path))

    assert (done.started, done.run, api.runs) == (False, None, {})


def test_without_if_new_each_submission_is_a_run_of_one_version(api: StandIn, tmp_path: Path) -> None:
    for _ in range(2):
        submit(cluster_of(api), request_of(tmp_path), if_new=False, claim=claims(tmp_path))

    assert len(api.runs) == 2
    assert len(api.versions) == 1


def test_two_submitters_at_once_start_one_run(api: StandIn, tmp_path: Path, tiny_emoji: Path) -> None:
    """Two processes: both have looked and found nothing before either is answered."""
    api.meet = [threading.Barrier(2)] * 2
    kind = place(tmp_path / "runs")
    kind["env"] |= {"KFP_ENDPOINT": api.endpoint, "MMGEN_IMAGES": f"cpu={UNPUSHED.cpu} gpu={UNPUSHED.gpu}"}
    line = command("submit", "emoji", "--if-new", "--json", root=tmp_path / "runs", data=tiny_emoji.parent)

    both = [subprocess.Popen(line, **kind, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [json.loads(one.communicate(timeout=60)[0]) for one in both]

    assert len(api.runs) == 1
    assert sorted(one["started"] for one in answers) == [False, True]
    assert {one["run"]["run_id"] for one in answers} == set(api.runs)


def test_the_claim_of_a_submitter_who_died_is_taken_over(
    api: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitting, "PATIENCE", 6.0)
    claim, names = claims(tmp_path), []

    def died_first(name: str) -> bool:
        names.append(name)
        return len(names) > 1 and claim(name)

    done = submit(cluster_of(api), request_of(tmp_path), if_new=True, claim=died_first)

    assert done.started
    assert len(set(names)) == 2


def test_a_run_is_followed_to_its_end_and_the_gates_word_is_the_answer(api: StandIn, tmp_path: Path) -> None:
    cluster, request = cluster_of(api), request_of(tmp_path)
    started = submit(cluster, request, if_new=True, claim=claims(tmp_path)).run
    assert started is not None
    said: list[tuple[str, str]] = []
    (run,) = api.runs.values()

    def train(phase: str) -> None:
        api.seen_by_argo(started.run_id, {"train": [(phase, "")]})

    def say(stage: str, state: str) -> None:
        said.append((stage, state))
        if state == "RUNNING":
            train("Succeeded")
        else:
            api.fail.append(500)  # one lost look ends nothing
            run["state"] = "SUCCEEDED"

    train("Running")
    ended = submitting.follow(cluster, started.run_id, say)
    run_stage("gate", request.run.keys.stages["gate"], tmp_path, lambda out: fill_gate(out, "keep"), facts={})

    assert ended.state == "SUCCEEDED"
    assert said == [("train", "RUNNING"), ("train", "SUCCEEDED")]
    assert submitting.decision(request) == "keep"


@pytest.mark.parametrize(("state", "exit_code"), [("FAILED", 1), ("CANCELED", 60)])
def test_a_run_that_did_not_succeed_is_one_line_with_its_stage(
    api: StandIn, tmp_path: Path, state: str, exit_code: int
) -> None:
    cluster = cluster_of(api)
    submit(cluster, request_of(tmp_path), if_new=True, claim=claims(tmp_path))
    (run,) = api.runs.values()
    run["state"], run["error"] = state, {"code": 2, "message": "out\nof memory"}
    api.seen_by_argo(run["run_id"], {"train": [("Failed", "")]})

    with pytest.raises(MmgenError, match="in stage train: out of memory; see: mmgen logs") as caught:
        submitting.check_ended(submitting.find(cluster, None), request_of(tmp_path))

    assert caught.value.exit_code == exit_code


def test_a_token_is_read_again_for_every_request_and_never_shown(api: StandIn, tmp_path: Path) -> None:
    file, api.token = tmp_path / "token", "first-secret"
    file.write_text("first-secret\n")
    cluster = cluster_of(api, KFP_TOKEN_FILE=str(file))
    cluster.runs()

    api.token = "second-secret"
    with pytest.raises(ClusterError) as refused:
        cluster.runs()
    file.write_text("second-secret\n")
    cluster.runs()

    assert "renew KFP_TOKEN_FILE" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_notebooks_token_is_found_where_kubeflow_mounts_it(
    api: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ours", "named", "mounted"):
        (tmp_path / name).write_text(name)
    ours, named = {"KFP_TOKEN_FILE": str(tmp_path / "ours")}, {"KF_PIPELINES_SA_TOKEN_PATH": str(tmp_path / "named")}
    monkeypatch.setattr(auth, "NOTEBOOK_TOKEN", tmp_path / "mounted")
    used = []
    for environment in ({**ours, **named}, named, {}):
        api.seen.clear()
        cluster_of(api, **environment).runs()
        used.append({authorization for *_, authorization in api.seen})

    assert used == [{"Bearer ours"}, {"Bearer named"}, {"Bearer mounted"}]
    monkeypatch.setattr(auth, "NOTEBOOK_TOKEN", tmp_path / "absent")
    assert credentials({}) is None


@pytest.mark.parametrize(
    ("url", "in_pod", "in_the_clear"),
    [
        ("http://ml-pipeline.kubeflow.svc:8888", False, True),
        ("http://ml-pipeline.kubeflow.svc.cluster.local:8888", False, True),
        ("http://ml-pipeline:8888", True, True),
        ("http://ml-pipeline:8888", False, False),  # a machine of the local network, for all one can see
        ("http://ml-pipeline.kubeflow:8888", True, False),  # or a host of the internet
        ("http://svc.example.org", True, False),
        ("http://10.96.0.17:8888", True, False),
        ("ftp://ml-pipeline.kubeflow.svc", True, False),
    ],
)
def test_a_token_travels_in_the_clear_only_inside_the_cluster(url: str, in_pod: bool, in_the_clear: bool) -> None:
    environment = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"} if in_pod else {}
    with (
        contextlib.nullcontext() if in_the_clear else pytest.raises(ConfigError, match=r"ml-pipeline.kubeflow.svc:8888")
    ):
        auth.check_encrypted("KFP_ENDPOINT", url, environment)


class _Provider(http.server.BaseHTTPRequestHandler):
    asked: list[str]
    lasts: int

    def do_POST(self) -> None:
        self.asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        good = "client_secret=open-sesame" in self.asked[-1]
        answer = {"access_token": f"token-{len(self.asked)}", "expires_in": self.lasts} if good else {"error": "no"}
        self.send_response(200 if good else 401)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def provider() -> Iterator[tuple[str, type[_Provider]]]:
    handler = type("Handler", (_Provider,), {"asked": [], "lasts": 3600})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/token", handler
        server.shutdown()


def test_an_oidc_token_is_kept_until_it_is_about_to_expire(api: StandIn, provider: tuple[str, type[_Provider]]) -> None:
    url, handler = provider
    who = {"KFP_OIDC_TOKEN_URL": url, "KFP_OIDC_CLIENT_ID": "ci", "KFP_OIDC_CLIENT_SECRET": "open-sesame"}

    cluster_of(api, **who).runs()
    kept = len(handler.asked)
    handler.lasts = 10  # less than what a token must still have
    cluster_of(api, **who).runs()

    assert kept == 1
    assert len(handler.asked) > 2
    assert {authorization for *_, authorization in api.seen} == {
        f"Bearer token-{n + 1}" for n in range(len(handler.asked))
    }


def test_a_refused_client_secret_is_not_in_the_error(api: StandIn, provider: tuple[str, type[_Provider]]) -> None:
    who = {"KFP_OIDC_TOKEN_URL": provider[0], "KFP_OIDC_CLIENT_ID": "ci", "KFP_OIDC_CLIENT_SECRET": "wrong-sesame"}

    with pytest.raises(ClusterError, match="refused KFP_OIDC_CLIENT_ID") as caught:
        cluster_of(api, **who)

    assert "sesame" not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "no cluster is named; set KFP_ENDPOINT"),
        ({"KFP_ENDPOINT": "kubeflow.example.org"}, "is no address"),
        ({"KFP_ENDPOINT": "http://kubeflow.example.org", "KFP_TOKEN_FILE": "x"}, "is not https"),
        ({"KFP_ENDPOINT": "http://kubeflow.example.org", "KF_PIPELINES_SA_TOKEN_PATH": "x"}, "is not https"),
        (
            {"KFP_ENDPOINT": "https://ann:sesame@kubeflow.example.org", "KFP_TOKEN_FILE": "x"},
            "holds a user or password",
        ),
        ({"KFP_ENDPOINT": "https://x", "KFP_OIDC_TOKEN_URL": "http://id.example.org"}, "is not https"),
        ({"KFP_ENDPOINT": "https://x", "KFP_OIDC_TOKEN_URL": "https://y"}, "KFP_OIDC_CLIENT_ID is not"),
    ],
)
def test_a_cluster_that_is_wrongly_described_is_refused_before_anything_is_sent(
    environment: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        connect(environment)

    assert "sesame" not in str(caught.value)


def test_a_token_file_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    config = type("Config", (), {"api_key": {}})

    for name in ("absent", "empty"):
        who = credentials({"KFP_TOKEN_FILE": str(tmp_path / name)})
        assert who is not None
        with pytest.raises(ClusterError, match=f"KFP_TOKEN_FILE .*{name}"):
            who.refresh_api_key_hook(config)


def test_a_server_that_fails_is_silent_or_away_ends_in_one_line_in_time(
    api: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "TIMEOUTS", (1, 1))
    cluster = cluster_of(api)
    api.fail = [500]
    with pytest.raises(ClusterError, match="answered 500: told to fail; try again"):
        cluster.run("any")
    with pytest.raises(ClusterError, match="answered 404: Run any not found"):
        cluster.run("any")
    api.slow = 60.0
    began = time.monotonic()
    with pytest.raises(ClusterError, match="cannot be reached"):
        cluster.cancel("any")  # sent once only, since it changes something
    assert time.monotonic() - began < api.slow  # it did not wait for the answer
    with pytest.raises(ClusterError, match="cannot be reached"):
        connect({"KFP_ENDPOINT": "http://127.0.0.1:9"})


def test_an_installation_with_several_users_wants_a_namespace(api: StandIn) -> None:
    api.multi_user = True

    with pytest.raises(ConfigError, match="set KFP_NAMESPACE"):
        cluster_of(api)
    cluster_of(api, KFP_NAMESPACE="team").experiment()

    assert [one["namespace"] for one in api.experiments.values()] == ["team"]


def test_the_verbs_submit_show_and_stop_a_run(api: StandIn, tmp_path: Path, tiny_emoji: Path) -> None:
    root, data = tmp_path / "runs", tiny_emoji.parent
    first = verb(api, root, "submit", "emoji", "--if-new", "--json", data=data)
    before = len(api.seen)
    again = verb(api, root, "submit", "emoji", "--if-new", data=data)
    asked = [method for method, *_ in api.seen[before:]]
    ((run_id, run),) = api.runs.items()
    api.seen_by_argo(run_id, {"judge": [("Running", "")]})
    api.logs[attempt("judge", 0)[1]] = "step 3 of 5\n"
    shown = verb(api, root, "status", run["display_name"])
    logs = verb(api, root, "logs", "--stage", "judge")
    stopped = verb(api, root, "cancel", run_id)

    assert json.loads(first.stdout)["started"]
    assert (again.returncode, "nothing to do: there is emoji-" in again.stdout) == (0, True), again.stderr
    assert api.endpoint in again.stdout
    assert set(asked) == {"GET"}  # it looks for a run; nothing is compiled, uploaded or started
    assert "RUNNING" in shown.stdout
    assert "step 3 of 5" in logs.stdout
    assert (stopped.returncode, run["state"]) == (0, "CANCELED")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (("cancel", "no-such-run"), 10, "no run is called 'no-such-run'"),
        (("logs", "--stage", "trian"), 10, "did you mean 'train'?"),
        (("logs",), 10, "no run was submitted yet"),
    ],
)
def test_a_wrong_word_about_a_run_is_one_line(
    api: StandIn, tmp_path: Path, arguments: tuple[str, ...], exit_code: int, says: str
) -> None:
    done = verb(api, tmp_path / "runs", *arguments)

    assert (done.returncode, done.stdout) == (exit_code, "")
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr
