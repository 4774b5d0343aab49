"""Runs that are submitted twice, lose a pod, lose a process, are cancelled and tried again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.kubeflow import Kubeflow, until

LONG = ("--set", "training.steps=2500", "--set", "training.checkpoint_seconds=5")
"""A training that lasts long enough to be disturbed twice."""


@pytest.fixture(scope="module")
def submitted(kubeflow: Kubeflow) -> dict[str, Any]:
    """A run that trains for some minutes."""
    answer: dict[str, Any] = kubeflow.json("submit", "--if-new", "--data", kubeflow.data, *LONG)
    return answer


def test_the_same_run_is_started_once(kubeflow: Kubeflow, submitted: dict[str, Any]) -> None:
    again = kubeflow.json("submit", "--if-new", "--data", kubeflow.data, *LONG)

    assert submitted["started"]
    assert not again["started"]
    assert again["run"]["run_id"] == submitted["run"]["run_id"]


def test_a_run_has_the_runners_account_and_the_addresses_of_root_and_data(
    kubeflow: Kubeflow, submitted: dict[str, Any]
) -> None:
    run = kubeflow.run(submitted["run"]["run_id"])

    assert run["service_account"] == "mmgen-runner"
    assert run["runtime_config"]["parameters"]["root"] == kubeflow.root
    assert run["runtime_config"]["parameters"]["data"] == kubeflow.data


def test_logs_of_a_stage_at_work_are_those_of_its_task(kubeflow: Kubeflow, submitted: dict[str, Any]) -> None:
    run_id = submitted["run"]["run_id"]
    until(lambda: kubeflow.pod(run_id, "train"), "the training does not start")

    log = until(lambda: at_work(kubeflow.mmgen("logs", run_id, "--stage", "train")), "the training writes nothing")

    assert "{'" not in log
    assert '"error"' not in log


def at_work(log: str) -> str | None:
    return log if "steps" in log else None


def step_reached(kubeflow: Kubeflow, pod: str) -> bool:
    return "/2500 steps" in kubeflow.log(pod)


def test_a_training_outlives_its_process_and_its_pod(kubeflow: Kubeflow, submitted: dict[str, Any]) -> None:
    run_id = submitted["run"]["run_id"]
    first = until(lambda: kubeflow.pod(run_id, "train"), "the training does not start")
    until(lambda: step_reached(kubeflow, first), "the training does not move")
    kubeflow.kubectl("exec", first, "-c", "main", "--", "python3", "-c", KILL)
    until(lambda: "restart 1 of" in kubeflow.log(first), "the killed process is not started again")
    until(
        lambda: "resumes from its checkpoint" in kubeflow.log(first).partition("restart 1 of")[2],
        "it does not go on from a checkpoint",
    )

    kubeflow.kubectl("delete", "pod", first, "--wait=false")
    second = until(lambda: other(kubeflow.pod(run_id, "train"), first), "the deleted pod is not replaced")
    until(lambda: "resumes from its checkpoint" in kubeflow.log(second), "the new pod does not go on from a checkpoint")

    assert kubeflow.ended(run_id) == "SUCCEEDED", kubeflow.mmgen("status", run_id)


KILL = """
import os, pathlib, signal
for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    if b"mmgen.ops.stages.task" in path.read_bytes() and int(path.parent.name) != os.getpid():
        os.kill(int(path.parent.name), signal.SIGKILL)
"""


def other(pod: str | None, than: str) -> str | None:
    return pod if pod != than else None


def test_a_cancelled_run_ends_and_goes_on_by_the_pages_retry(kubeflow: Kubeflow) -> None:
    run = kubeflow.json("submit", "--data", kubeflow.data, "--set", "training.steps=600")["run"]
    until(lambda: kubeflow.pod(run["run_id"], "train"), "the training does not start")
    kubeflow.mmgen("cancel", run["run_id"])
    assert kubeflow.ended(run["run_id"]) in ("CANCELED", "FAILED")

    kubeflow.api(f"runs/{run['run_id']}:retry", method="POST")
    until(lambda: kubeflow.run(run["run_id"])["state"] not in ("CANCELED", "FAILED"), "the retry does not begin")

    assert kubeflow.ended(run["run_id"]) == "SUCCEEDED", kubeflow.mmgen("status", run["run_id"])


def test_status_says_why_an_image_is_not_pulled(kubeflow: Kubeflow) -> None:
    lost = f"registry.invalid/mmgen-python@sha256:{'0' * 64}"
    images = f"cpu={lost} gpu={lost}"
    run = kubeflow.json("submit", "--data", kubeflow.data, MMGEN_IMAGES=images)["run"]

    told = until(
        lambda: pulled(kubeflow.mmgen("status", run["run_id"])), "status does not say that the image cannot be had"
    )
    kubeflow.mmgen("cancel", run["run_id"])

    assert "registry.invalid/mmgen-python" in told


def pulled(told: str) -> str | None:
    return told if "ImagePull" in told or "ErrImage" in told else None
