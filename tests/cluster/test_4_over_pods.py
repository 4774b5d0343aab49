"""A training over two pods of CPUs by a TrainJob, one of which is killed."""

from __future__ import annotations

import json

import pytest

from tests.cluster.kubeflow import Kubeflow, until

STEPS = ("--set", "training.steps=120", "--set", "training.checkpoint_seconds=5", "--set", "training.processes=2")


@pytest.fixture(scope="module")
def trainer(kubeflow: Kubeflow) -> None:
    """Skips where the cluster has no Trainer, or the namespace no runtime for it."""
    found = kubeflow.kubectl("get", "trainingruntimes.trainer.kubeflow.org", "-o", "name", check=False)
    if "mmgen-torch" not in found:
        pytest.skip("no TrainingRuntime mmgen-torch: it comes with k8s/components/trainer")


def test_a_training_over_two_pods_outlives_one_of_them(kubeflow: Kubeflow, trainer: None) -> None:
    words = ("submit", "--profile", "nodes-cpu", "--data", kubeflow.data, *STEPS)
    run_id = kubeflow.json(*words)["run"]["run_id"]
    until(lambda: kubeflow.pod(run_id, "train"), "the watching task does not start")
    pods = until(lambda: both(kubeflow), "the two pods of the training do not run")

    until(lambda: "/120 steps" in kubeflow.kubectl("logs", pods[0], check=False), "the training does not move")
    kubeflow.kubectl("delete", "pod", pods[1], "--wait=false")

    assert kubeflow.ended(run_id) == "SUCCEEDED", kubeflow.mmgen("status", run_id)
    again = kubeflow.json(*words)["run"]["run_id"]
    assert kubeflow.ended(again) == "SUCCEEDED"
    assert not kubeflow.pods("mmgen/role=training")  # the sealed stage was found: no TrainJob was needed


def both(kubeflow: Kubeflow) -> list[str] | None:
    running = [
        pod["metadata"]["name"]
        for pod in kubeflow.pods("mmgen/role=training")
        if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
    ]
    return sorted(running) if len(running) == 2 else None


def test_an_error_of_the_user_in_other_pods_is_told_by_the_task(kubeflow: Kubeflow, trainer: None) -> None:
    words = ("--set", "training.processes=2", "--set", "training.steps=8", "--set", "training.table_lr=1e30")
    run_id = kubeflow.json("submit", "--profile", "nodes-cpu", "--data", kubeflow.data, *words)["run"]["run_id"]

    assert kubeflow.ended(run_id) == "FAILED"
    told = kubeflow.mmgen("status", run_id)
    assert "not finite" in told or "diverged" in told, told
    jobs = json.loads(kubeflow.kubectl("get", "trainjobs.trainer.kubeflow.org", "-o", "json"))["items"]
    assert len(jobs) <= 1
