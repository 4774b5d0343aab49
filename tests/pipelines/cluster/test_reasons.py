"""Why a run does not go on, from the words of Argo and Kubernetes: a line each, with a way out."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.cluster.reasons import Reason, reasons, with_last_words
from pipelines.cluster.runs import nodes
from tests.support.cluster import argo

RUN = "emoji-0001aaaabbbbcccc"
PODS = "main: Error (exit code 1)"


def said(message: str, phase: str = "Failed") -> list[str]:
    found = argo.workflow("id", {"validate": [("Succeeded", "")], "train": [(phase, message)]})
    return [str(reason) for reason in reasons(RUN, {"validate": "SUCCEEDED", "train": "RUNNING"}, found)]


def pod(stage: str, phase: str, number: int = 0, **status: Any) -> dict[str, Any]:
    name = f"{argo.NAME}(0).root(0).{stage}(0).executor({number})"
    return {
        "metadata": {
            "name": argo.attempt(stage, number)[1],
            "annotations": {"workflows.argoproj.io/node-name": name},
        },
        "status": {"phase": phase, **status},
    }


def container(name: str = "main", **state: Any) -> dict[str, Any]:
    return {"name": name, "state": state}


@pytest.mark.parametrize(
    ("message", "phase", "kind", "way_out"),
    [
        ('ImagePullBackOff: Back-off pulling image "r/x@sha256:1"', "Pending", "image", "pull secret"),
        ("ErrImagePull: rpc error: code = NotFound", "Pending", "image", "--image"),
        ('pods "x" is forbidden: exceeded quota: mmgen, requested: limits.cpu=8', "Pending", "quota", "ResourceQuota"),
        ("Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", "Pending", "nodes", "--profile"),
        ('CreateContainerConfigError: secret "object-store" not found', "Pending", "configuration", "as k8s/ has it"),
        ('pods "x" is forbidden: error looking up service account team/nobody: serviceaccount "nobody" not found',
         "Error", "account", "--service-account"),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest"', "Error", "policy", "admission policies"),
        ('workflowtaskresults.argoproj.io is forbidden: User "a" cannot create resource', "Error", "rights", "role"),
        ("main: OOMKilled (exit code 137)", "Failed", "memory", "larger --profile"),
        ("main: Error (exit code 137)", "Failed", "killed", "killed from outside"),
        ("The node was low on resource: memory. Evicted", "Failed", "gone", "last checkpoint"),
        ("pod deleted", "Error", "gone", "last checkpoint"),
        (PODS, "Failed", "ended", f"see: mmgen logs {RUN} --stage train"),
        ("something new", "Failed", "other", ""),
    ],
)  # fmt: skip
def test_what_argo_says_of_a_pod_is_one_line_with_a_way_out(message: str, phase: str, kind: str, way_out: str) -> None:
    found = argo.workflow("id", {"train": [(phase, message)]})
    (reason,) = reasons(RUN, {"train": "RUNNING"}, found)

    assert (reason.stage, reason.kind) == ("train", kind)
    assert str(reason).startswith(f"train: {message}")
    assert way_out in reason.way_out
    assert len(str(reason).splitlines()) == 1


def test_a_driver_or_the_workflow_that_fails_is_told_as_well() -> None:
    driver = argo.workflow("id", {"train-driver": [("Error", 'configmaps "kfp-launcher" is forbidden')], "train": []})
    whole = argo.workflow("id", {}, message="invalid spec: templates.entrypoint")

    assert [reason.kind for reason in reasons(RUN, {}, driver)] == ["rights"]
    assert [str(reason) for reason in reasons(RUN, {}, whole)] == ["pipeline: invalid spec: templates.entrypoint"]


def test_nothing_is_said_of_what_goes_well() -> None:
    assert said("", "Running") == []
    assert said("PodInitializing", "Running") == []
    tried_again = argo.workflow("id", {"train": [("Error", "pod deleted"), ("Succeeded", "")]})
    assert reasons(RUN, {"train": "SUCCEEDED"}, tried_again) == []
    assert reasons(RUN, {}, {}) == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ({"containerStatuses": [container(waiting={"reason": "ErrImagePull", "message": "no such digest"})]}, "image"),
        (
            {"initContainerStatuses": [container("init", waiting={"reason": "CreateContainerConfigError"})]},
            "configuration",
        ),
        ({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}, "nodes"),
        ({"containerStatuses": [container(terminated={"reason": "OOMKilled", "exitCode": 137})]}, "memory"),
        ({"containerStatuses": [{"name": "main", "lastState": {"terminated": {"exitCode": 137}}}]}, "killed"),
        ({"reason": "Evicted", "message": "The node was low on resource: memory."}, "gone"),
    ],
)
def test_what_kubernetes_says_of_a_pod_is_told(status: dict[str, Any], kind: str) -> None:
    phase = "Failed" if "reason" in status else "Pending"
    (reason,) = reasons(RUN, {"train": "RUNNING"}, {}, [pod("train", phase, **status)])

    assert (reason.stage, reason.kind) == ("train", kind)


def test_a_pod_that_waits_for_nothing_unusual_is_not_spoken_of() -> None:
    well = pod("train", "Pending", containerStatuses=[container(waiting={"reason": "ContainerCreating"})])
    done = pod("train", "Succeeded", containerStatuses=[container(terminated={"reason": "Completed", "exitCode": 0})])

    assert reasons(RUN, {"train": "RUNNING"}, {}, [well, done]) == []


def test_what_argo_and_kubernetes_both_say_is_told_once_and_hides_the_exit_code() -> None:
    found = argo.workflow("id", {"train": [("Failed", PODS)]})
    killed = pod("train", "Failed", containerStatuses=[container(terminated={"reason": "OOMKilled", "exitCode": 137})])
    twice = reasons(RUN, {"train": "FAILED"}, found, [killed, killed])

    assert [reason.kind for reason in twice] == ["memory"]


def test_a_warning_counts_for_pods_of_the_run_that_are_to_start() -> None:
    waits, runs = pod("train", "Pending"), pod("judge", "Running")

    def event(about: dict[str, Any], message: str) -> dict[str, Any]:
        return {"reason": "FailedMount", "message": message, "involvedObject": {"name": about["metadata"]["name"]}}

    text = 'MountVolume.SetUp failed for volume "ca": configmap "authorities" not found'
    strange = {"metadata": {"name": "somebody-elses"}}
    found = reasons(RUN, {}, {}, [waits, runs], [event(waits, text), event(runs, text), event(strange, text)])

    assert [(reason.stage, reason.kind) for reason in found] == [("train", "configuration")]


@pytest.mark.parametrize(
    ("log", "ends", "kind"),
    [
        (
            "data set 'emoji' is not built; run: mmgen data build emoji\nF1128 10:00:00.1 1 main.go:58] failed\n",
            "data set 'emoji' is not built; run: mmgen data build emoji",
            "ended",
        ),
        ("step 7\nF1128 10:00:00.1 1 main.go:58] failed to execute component: signal: killed\n", "step 7", "killed"),
        ("", PODS, "ended"),
    ],
)
def test_an_exit_code_comes_with_what_the_program_said_last(log: str, ends: str, kind: str) -> None:
    (reason,) = reasons(RUN, {"train": "FAILED"}, argo.workflow("id", {"train": [("Failed", PODS)]}))
    explained = with_last_words(reason, log)

    assert (explained.text.endswith(ends), explained.kind) == (True, kind)


def test_the_pods_of_a_stage_are_its_driver_and_its_attempts_under_their_own_names() -> None:
    found = argo.workflow("id", {"validate": [("Succeeded", "")], "train": [("Error", "pod deleted"), ("Running", "")]})
    train = [node for node in nodes(found) if node.stage == "train"]

    assert [node.name for node in train] == ["train-driver(0)", "executor(0)", "executor(1)"]
    assert [(node.node_id, node.pod) for node in train[1:]] == [argo.attempt("train", 0), argo.attempt("train", 1)]
    assert [node.executes for node in train] == [False, True, True]
    found["metadata"]["annotations"]["workflows.argoproj.io/pod-name-format"] = "v1"
    assert [node.pod for node in nodes(found)] == [node.node_id for node in nodes(found)]


LOG_OF_A_REAL_POD = """\
mmgen: stage validate: unknown setting 'training.stepps'; did you mean 'training.steps'?
E1128 12:22:09.759568      16 launcher_v2.go:449] Component failed to execute successfully: exit status 10
I1128 12:22:09.782012      16 launcher_v2.go:206] publish success.
F1128 12:22:09.784552      16 main.go:59] failed to execute component: exit status 10
time=2026-11-28T12:22:10.531Z level=INFO msg="sub-process exited" argo=true error="exit status 1"
Error: exit status 1
"""


def test_our_own_error_is_told_alone_whatever_kubeflow_writes_behind_it() -> None:
    reason = Reason(stage="validate", kind="ended", text="main: Error (exit code 1)", way_out="see: mmgen logs x")

    told = str(with_last_words(reason, LOG_OF_A_REAL_POD))

    assert told == ("validate: unknown setting 'training.stepps'; did you mean 'training.steps'?; see: mmgen logs x")


def test_a_driver_of_kubeflow_that_gives_up_is_quoted() -> None:
    log = (
        "I1201 01:25:09.524954      15 main.go:353] input RuntimeConfig:{\n"
        '  "parameterValues": {\n  }\n}\n'
        "F1201 01:25:09.540495      15 main.go:127] KFP driver: driver.RootDAG(pipelineName=mmgen-train) failed: "
        'configmaps "kfp-launcher" is forbidden\n'
        'time=2026-12-01T01:25:10.381Z level=INFO msg="sub-process exited" argo=true error="exit status 1"\n'
        "Error: exit status 1\n"
    )
    reason = Reason(stage="pipeline", kind="ended", text="main: Error (exit code 1)", way_out="see its log")

    assert with_last_words(reason, log).text == 'main: Error (exit code 1): configmaps "kfp-launcher" is forbidden'
