"""What follows a run: retraining when data change, the janitor, Kubeflow's own MLflow plugin."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from mmgen.data.dataset import load
from tests.cluster.kubeflow import Kubeflow, until
from tests.conftest import rewrite


def test_changed_data_are_another_run(kubeflow: Kubeflow) -> None:
    before = kubeflow.json("plan", "emoji", "--data", kubeflow.data)
    folder = kubeflow.folder / "changed" / "emoji"
    shutil.copytree(kubeflow.folder / "data" / "emoji", folder)
    dataset = load(folder)
    splits = {split: dataset.split(split) for split in dataset.card.splits}
    splits["train"] = splits["train"][:-1]
    rewrite(folder, dataset.card, splits)
    kubeflow.mmgen("data", "push", "emoji", kubeflow.data, "--data", str(folder.parent))

    started = kubeflow.json("submit", "--if-new", "--data", kubeflow.data)

    assert started["started"]
    assert kubeflow.ended(started["run"]["run_id"]) == "SUCCEEDED", kubeflow.mmgen("status", started["run"]["run_id"])
    after = kubeflow.json("plan", "emoji", "--data", kubeflow.data)
    assert after["data_version"] != before["data_version"]
    assert after["stages"]["validate"]["done"]


def test_the_janitor_runs(kubeflow: Kubeflow) -> None:
    kubeflow.kubectl("delete", "job", "janitor-by-hand", "--ignore-not-found")
    kubeflow.kubectl("create", "job", "--from=cronjob/janitor", "janitor-by-hand")

    def ended() -> list[dict[str, str]] | None:
        status = json.loads(kubeflow.kubectl("get", "job", "janitor-by-hand", "-o", "json"))["status"]
        return [each for each in status.get("conditions", []) if each["type"] in ("Complete", "Failed")] or None

    assert until(ended, "the janitor does not end")[0]["type"] == "Complete", kubeflow.kubectl(
        "logs", "job/janitor-by-hand", "--all-containers", check=False
    )


@pytest.mark.skipif("KFP_MLFLOW_PLUGIN" not in os.environ, reason="KFP_MLFLOW_PLUGIN does not say that it is on")
def test_with_kubeflows_mlflow_plugin_both_pages_lead_to_each_other(kubeflow: Kubeflow) -> None:
    from mlflow import MlflowClient

    run_id = kubeflow.json("submit", "--data", kubeflow.data, "--set", "training.steps=7")["run"]["run_id"]
    assert kubeflow.ended(run_id) == "SUCCEEDED", kubeflow.mmgen("status", run_id)

    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    everywhere = [each.experiment_id for each in client.search_experiments()]
    ours = client.search_runs(everywhere, f"tags.`mmgen.kfp_run_id` = '{run_id}'")
    theirs = client.search_runs(everywhere, f"tags.`kfp.pipeline_run_id` = '{run_id}'")
    assert ours
    assert theirs
    assert {run.info.status for run in ours} == {"FINISHED"}
