"""A schedule fires, is listed, replaced and ended, and what it has started goes on."""

from __future__ import annotations

from typing import Any

from tests.cluster.kubeflow import Kubeflow, until

EVERY_MINUTE = "* * * * *"
NEVER = "0 0 29 2 *"
SETTINGS = ("--set", "training.steps=5")


def schedules(kubeflow: Kubeflow) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = kubeflow.json("schedule", "--list")
    return found


def fired(kubeflow: Kubeflow, schedule: str) -> str | None:
    """The run that a schedule has started, once Argo has its workflow."""
    runs = kubeflow.api(f"runs?namespace={kubeflow.namespace}&sort_by=created_at%20desc&page_size=20").get("runs", [])
    mine = [run["run_id"] for run in runs if run.get("recurring_run_id") == schedule]
    return mine[0] if mine and kubeflow.workflow(mine[0]) else None


def test_a_schedule_that_is_replaced_and_ended_harms_nothing_that_it_started(kubeflow: Kubeflow) -> None:
    first = kubeflow.json("schedule", "--cron", EVERY_MINUTE, "--data", kubeflow.data, *SETTINGS)["id"]
    run_id = until(lambda: fired(kubeflow, first), "the schedule does not fire")

    second = kubeflow.json("schedule", "--cron", NEVER, "--data", kubeflow.data, *SETTINGS)["id"]
    assert kubeflow.workflow(run_id)  # in the middle of its work
    assert second in [each["schedule_id"] for each in schedules(kubeflow) if each["enabled"]]
    assert first not in [each["schedule_id"] for each in schedules(kubeflow) if each["enabled"]]
    kubeflow.mmgen("schedule", "--end", second)

    assert kubeflow.ended(run_id) == "SUCCEEDED", kubeflow.mmgen("status", run_id)
    assert [each for each in schedules(kubeflow) if each["enabled"]] == []


def test_a_run_whose_workflow_was_deleted_is_stale_and_blocks_nothing(kubeflow: Kubeflow) -> None:
    settings = ("--data", kubeflow.data, "--set", "training.steps=6")
    lost = kubeflow.json("submit", "--if-new", *settings)["run"]["run_id"]
    until(lambda: kubeflow.workflow(lost), "the run has no workflow")
    kubeflow.kubectl("delete", "workflows.argoproj.io", "-l", f"pipeline/runid={lost}")

    told = kubeflow.mmgen("status", lost)
    again = kubeflow.json("submit", "--if-new", *settings)

    assert "STALE" in told
    assert again["started"]
    kubeflow.mmgen("cancel", again["run"]["run_id"])
