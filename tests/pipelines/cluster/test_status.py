"""Status and logs of a run: why it does not go on, what its pods wrote, and runs of which nothing runs any more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.cluster.auth import ClusterError
from pipelines.cluster.client import Cluster, Version
from pipelines.cluster.runs import ClusterRun
from pipelines.cluster.stale import judged
from pipelines.cluster.status import NO_LOG, logs, why
from pipelines.cluster.submit import claims, find, submit
from tests.support.cluster import submitting
from tests.support.cluster.argo import attempt
from tests.support.cluster.kfp_api import StandIn
from tests.support.cluster.kube_lists import Kubernetes
from tests.support.cluster.submitting import cluster_of, request_of, verb

api = submitting.api
LONG_AGO = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def kubernetes(tmp_path: Path) -> Iterator[Kubernetes]:
    with Kubernetes(tmp_path) as server:
        yield server


def started(cluster: Cluster, root: Path) -> str:
    done = submit(cluster, request_of(root), if_new=False, claim=claims(root))
    assert done.run is not None
    return done.run.run_id


def state(cluster: Cluster, run_id: str) -> str:
    return find(cluster, run_id).state


def test_status_says_why_without_kubernetes(api: StandIn, tmp_path: Path) -> None:
    cluster = cluster_of(api)
    run_id = started(cluster, tmp_path)
    assert why(cluster, cluster.run(run_id)) == []
    api.seen_by_argo(
        run_id,
        {"validate": [("Succeeded", "")], "train": [("Pending", 'pods "x" is forbidden: exceeded quota: mmgen')]},
    )

    (line,) = why(cluster, cluster.run(run_id))

    assert line.startswith('train: pods "x" is forbidden: exceeded quota: mmgen; it starts when other pods have ended')


def test_status_quotes_the_last_words_of_a_stage_that_failed(api: StandIn, tmp_path: Path) -> None:
    cluster = cluster_of(api)
    run_id = started(cluster, tmp_path)
    api.runs[run_id]["state"] = "FAILED"
    api.seen_by_argo(run_id, {"validate": [("Failed", "main: Error (exit code 1)")]})
    api.logs[attempt("validate", 0)[0]] = "reading\nmmgen: 3 captions are empty; see validation.html\n"

    (line,) = why(cluster, cluster.run(run_id))

    assert "(exit code 1): mmgen: 3 captions are empty; see validation.html; see: mmgen logs emoji-" in line


def test_a_run_of_which_argo_made_nothing_is_spoken_of(api: StandIn, tmp_path: Path) -> None:
    cluster = cluster_of(api)
    run_id = started(cluster, tmp_path)
    api.runs[run_id]["created_at"] = LONG_AGO

    (line,) = why(cluster, cluster.run(run_id))

    assert "see whether its workflow-controller runs" in line


def test_status_adds_what_kubernetes_knows_of_pods(api: StandIn, kubernetes: Kubernetes, tmp_path: Path) -> None:
    cluster = cluster_of(api, KUBECONFIG=kubernetes.config, KFP_NAMESPACE="team")
    run_id = started(cluster, tmp_path)
    api.seen_by_argo(run_id, {"train": [("Running", "")]})
    kubernetes.has_workflow(run_id)
    pod = {
        "metadata": {
            "name": attempt("train", 0)[1],
            "labels": {"pipeline/runid": run_id},
            "annotations": {"workflows.argoproj.io/node-name": "mmgen-train-x7k2p(0).root(0).train(0).executor(0)"},
        },
        "status": {
            "phase": "Pending",
            "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "ErrImagePull"}}}],
        },
    }
    somebody_elses = pod | {"metadata": pod["metadata"] | {"labels": {"pipeline/runid": "another"}}}
    kubernetes.objects["pods"] = [pod, somebody_elses]

    (line,) = why(cluster, find(cluster, run_id))
    assert line.startswith("train: main: ErrImagePull; check the image")
    kubernetes.refuses = {"workflows", "pods", "events"}
    assert why(cluster, find(cluster, run_id)) == []


@pytest.mark.parametrize("config", ["absent", "broken", "nobody-listens"])
def test_without_an_api_of_kubernetes_status_works(api: StandIn, tmp_path: Path, config: str) -> None:
    texts = {
        "broken": "clusters: [",
        "nobody-listens": "apiVersion: v1\nkind: Config\ncurrent-context: a\n"
        "clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]\n"
        "users: [{name: a, user: {}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n",
    }
    file = tmp_path / "kubeconfig"
    if config in texts:
        file.write_text(texts[config])
    cluster = cluster_of(api, KUBECONFIG=str(file), KFP_NAMESPACE="team")
    run_id = started(cluster, tmp_path)

    assert (state(cluster, run_id), why(cluster, find(cluster, run_id))) == ("PENDING", [])


def test_logs_are_those_of_the_attempts_by_pod_or_from_the_archive(api: StandIn, tmp_path: Path) -> None:
    cluster = cluster_of(api)
    run_id = started(cluster, tmp_path)
    api.seen_by_argo(run_id, {"validate": [("Succeeded", "")], "train": [("Error", "pod deleted"), ("Running", "")]})
    (gone, _), (_, pod) = attempt("train", 0), attempt("train", 1)
    api.logs = {gone: "from the archive\n", pod: '{"step": 7}\n'}

    found = list(logs(cluster, cluster.run(run_id), "train"))

    assert found == [
        ("train: executor(0), Error", "from the archive\n"),
        ("train: executor(1), Running", '{"step": 7}\n'),
    ]


def test_a_log_that_is_not_there_yet_is_a_plain_line(api: StandIn, tmp_path: Path) -> None:
    cluster = cluster_of(api)
    run_id = started(cluster, tmp_path)
    api.seen_by_argo(run_id, {"train": [("Running", "")]})
    assert list(logs(cluster, cluster.run(run_id), "train")) == [("train: executor(0), Running", NO_LOG)]
    api.logs[attempt("train", 0)[1]] = 'step 1\n{"error_message":"stream error","error_details":"reset"}'
    assert [text for _, text in logs(cluster, cluster.run(run_id), "train")] == ["step 1\n"]

    shown = verb(api, tmp_path, "logs", run_id, "--stage", "train")
    none = verb(api, tmp_path, "logs", run_id, "--stage", "judge")

    assert shown.stdout == "== train: executor(0), Running\nstep 1\n"
    assert (none.returncode, none.stderr.count("\n")) == (10, 1)
    assert "has no pods yet in stage judge; see: mmgen status" in none.stderr


def test_the_log_of_a_driver_that_failed_is_shown(api: StandIn, tmp_path: Path) -> None:
    cluster = cluster_of(api)
    run_id = started(cluster, tmp_path)
    api.seen_by_argo(run_id, {"train-driver": [("Failed", "main: Error (exit code 1)")], "train": []})

    assert [title for title, _ in logs(cluster, cluster.run(run_id), None)] == ["train: train-driver(0), Failed"]


def begun(cluster: Cluster, api: StandIn, root: Path) -> str:
    """A run at work."""
    run_id = started(cluster, root)
    api.seen_by_argo(run_id, {"validate": [("Running", "")]})
    api.runs[run_id]["state"] = "RUNNING"
    return run_id


def is_started_again(cluster: Cluster, root: Path) -> bool:
    return submit(cluster, request_of(root), if_new=True, claim=claims(root)).started


def test_a_run_whose_schedule_was_deleted_is_stale_and_blocks_nothing(api: StandIn, tmp_path: Path) -> None:
    cluster = cluster_of(api)
    run_id = begun(cluster, api, tmp_path)
    api.runs[run_id]["recurring_run_id"] = "deleted-long-ago"

    found = find(cluster, run_id)
    assert found.state == "STALE"
    assert "Kubeflow says RUNNING, but the schedule that started it was deleted" in found.error
    assert found.error.endswith(f"mark it as ended by: mmgen cancel {run_id}")
    assert why(cluster, found) == [found.error]
    assert is_started_again(cluster, tmp_path)


def test_a_run_without_any_pod_for_long_is_stale_only_when_it_is_said_to_run(api: StandIn, tmp_path: Path) -> None:
    cluster = cluster_of(api)
    run_id = started(cluster, tmp_path)
    api.runs[run_id]["created_at"] = LONG_AGO
    assert state(cluster, run_id) == "PENDING"  # it may wait its turn for as long as it takes
    assert not is_started_again(cluster, tmp_path)

    api.runs[run_id]["state"] = "RUNNING"

    assert state(cluster, run_id) == "STALE"
    assert is_started_again(cluster, tmp_path)


@pytest.mark.parametrize("known_by", ["another run", "context"])
def test_a_run_without_a_workflow_is_stale_where_kubernetes_can_tell(
    api: StandIn, kubernetes: Kubernetes, tmp_path: Path, known_by: str
) -> None:
    environment = {"KUBECONFIG": kubernetes.config, "KFP_NAMESPACE": "team"}
    if known_by == "context":
        environment["KFP_KUBE_CONTEXT"] = "here"
    cluster = cluster_of(api, **environment)
    run_id = begun(cluster, api, tmp_path)
    kubernetes.has_workflow(run_id)
    assert state(cluster, run_id) == "RUNNING"
    assert not is_started_again(cluster, tmp_path)

    other = cluster.start("another", _version(api), {}, "mmgen-runner").run_id
    kubernetes.has_workflow(*([other] if known_by == "another run" else []))

    assert state(cluster, run_id) == "STALE"
    assert is_started_again(cluster, tmp_path)


def _version(api: StandIn) -> Version:
    (version,) = api.versions.values()
    return Version(version["pipeline_id"], version["pipeline_version_id"], version["display_name"])


def test_another_clusters_kubernetes_makes_no_run_stale(api: StandIn, kubernetes: Kubernetes, tmp_path: Path) -> None:
    cluster = cluster_of(api, KUBECONFIG=kubernetes.config, KFP_NAMESPACE="team")
    run_id = begun(cluster, api, tmp_path)

    for strangers in ((), ("a-run-of-another-kubeflow",)):
        kubernetes.has_workflow(*strangers)
        assert state(cluster, run_id) == "RUNNING"
    assert not is_started_again(cluster, tmp_path)


def test_a_workflow_that_is_there_is_believed_more_than_a_missing_schedule(
    api: StandIn, kubernetes: Kubernetes, tmp_path: Path
) -> None:
    cluster = cluster_of(api, KUBECONFIG=kubernetes.config, KFP_NAMESPACE="team")
    run_id = begun(cluster, api, tmp_path)
    api.runs[run_id]["recurring_run_id"] = "deleted-with-orphans"
    kubernetes.has_workflow(run_id)

    assert state(cluster, run_id) == "RUNNING"


def test_a_run_that_ended_while_we_looked_is_not_stale(api: StandIn, kubernetes: Kubernetes, tmp_path: Path) -> None:
    cluster = cluster_of(api, KUBECONFIG=kubernetes.config, KFP_NAMESPACE="team", KFP_KUBE_CONTEXT="here")
    run_id = begun(cluster, api, tmp_path)
    before: list[ClusterRun] = cluster.runs()
    api.runs[run_id]["state"] = "SUCCEEDED"

    assert [run.state for run in judged(cluster, before)] == ["SUCCEEDED"]


def test_a_stale_run_is_listed_as_such_and_cancel_marks_it(api: StandIn, tmp_path: Path) -> None:
    cluster = cluster_of(api)
    run_id = begun(cluster, api, tmp_path)
    api.runs[run_id]["recurring_run_id"] = "deleted-long-ago"
    api.deleted.add(run_id)

    listed = verb(api, tmp_path, "status", "--json")
    one = verb(api, tmp_path, "status", run_id)
    stopped = verb(api, tmp_path, "cancel", run_id)

    assert [run["state"] for run in json.loads(listed.stdout)] == ["STALE"]
    assert "the schedule that started it was deleted" in one.stdout
    assert (stopped.returncode, api.runs[run_id]["state"]) == (0, "CANCELING"), stopped.stderr


def test_a_run_that_cannot_be_stopped_is_an_error(api: StandIn, tmp_path: Path) -> None:
    cluster = cluster_of(api)
    run_id = begun(cluster, api, tmp_path)
    api.fail = [500]

    with pytest.raises(ClusterError, match="answered 500"):
        cluster.cancel(run_id)
