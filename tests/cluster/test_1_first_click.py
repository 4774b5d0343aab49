"""From a cluster that is checked to a champion by clicks: nothing is typed."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from mmgen.recipes import NAMES
from tests.cluster.kubeflow import Kubeflow, until
from tests.cluster.pages import go, opened


def test_the_check_finds_nothing_missing(kubeflow: Kubeflow) -> None:
    found = kubeflow.json("cluster", "check")

    assert [each for each in found if each["ok"] is False] == []
    assert len(found) > 20


def test_pods_reach_all_that_a_run_needs(kubeflow: Kubeflow) -> None:
    found = kubeflow.json("cluster", "check", "--pods")

    assert [each for each in found if each["ok"] is False] == []
    assert [each for each in found if each["what"].startswith("pod of a run")], found


def test_publishing_twice_makes_one_version_with_a_filled_form(kubeflow: Kubeflow) -> None:
    first = kubeflow.json("publish", "--data", kubeflow.data)
    again = kubeflow.json("publish", "--data", kubeflow.data)

    assert first == again
    version = kubeflow.api(f"pipelines/{first['pipeline_id']}/versions/{first['version_id']}")
    spec = version["pipeline_spec"].get("pipeline_spec", version["pipeline_spec"])
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert parameters["recipe"]["literals"] == list(NAMES)
    assert parameters["root"]["defaultValue"] == kubeflow.root
    assert parameters["data"]["defaultValue"] == kubeflow.data


@pytest.fixture(scope="module")
def clicked(kubeflow: Kubeflow) -> str:
    """A run that was started in the pages; its id."""
    version = kubeflow.json("publish", "--data", kubeflow.data)["version"]
    with opened(kubeflow.namespace) as page:
        go(page, "pipelines")
        page.get_by_text("mmgen-train", exact=True).first.click()
        page.get_by_text(f"mmgen-train ({version}").first.wait_for()
        page.get_by_role("button", name="Create run").first.click()
        page.get_by_text("recipe - string").first.wait_for()
        page.locator("#chooseExperimentBtn").click()
        page.get_by_role("dialog").get_by_text("mmgen", exact=True).first.click()
        page.get_by_role("button", name="Use this experiment").click()
        page.wait_for_timeout(2000)
        page.get_by_text("Currently loading").wait_for(state="hidden")
        page.get_by_text("recipe - string").first.wait_for()  # the form is drawn again
        keep(page, "form")
        page.get_by_role("button", name="Start").last.click()
        page.wait_for_url("**/runs**")
    runs = until(
        lambda: kubeflow.api(f"runs?namespace={kubeflow.namespace}&sort_by=created_at%20desc&page_size=5").get("runs"),
        "no run was started",
    )
    mine = [run for run in runs if run["display_name"].startswith(f"Run of {version}")]
    assert mine, [run["display_name"] for run in runs]
    return str(mine[0]["run_id"])


def keep(page: Any, name: str) -> None:
    """Keep a picture where MMGEN_SHOTS says, for people and for docs/images."""
    if folder := os.environ.get("MMGEN_SHOTS"):
        page.screenshot(path=str(Path(folder) / f"kubeflow-{name}.png"))


def test_a_run_that_was_started_by_clicks_ends_with_a_model(kubeflow: Kubeflow, clicked: str) -> None:
    assert kubeflow.ended(clicked) == "SUCCEEDED", kubeflow.mmgen("status", clicked)

    lineage = kubeflow.json("lineage", clicked)
    assert clicked in json.dumps(lineage)
    assert re.search(r"mmgen-emoji", json.dumps(lineage))


def test_judge_and_training_ran_side_by_side(kubeflow: Kubeflow, clicked: str) -> None:
    tasks = {task["display_name"]: task for task in kubeflow.run(clicked)["run_details"]["task_details"]}

    assert tasks["train"]["start_time"] < tasks["judge"]["end_time"]
    assert tasks["judge"]["start_time"] < tasks["train"]["end_time"]


def test_the_pages_show_graph_scores_and_verdict(kubeflow: Kubeflow, clicked: str) -> None:
    with opened(kubeflow.namespace) as page:
        go(page, f"runs/details/{clicked}")
        page.get_by_text("Train model").first.wait_for()
        page.wait_for_timeout(5000)  # the graph arranges itself
        page.add_style_tag(content=".react-flow__minimap {display: none}")  # it lies over the last stage
        keep(page, "run")
        for name, artifact, shown in ARTIFACTS:
            open_artifact(page, artifact, shown)
            keep(page, name)
            page.locator("[aria-label='close']").first.click()


ARTIFACTS = (
    ("scores", "metrics", "image.r1_seen"),
    ("gate", "page", "Verdict of the gate"),
    ("report", "page", "mmgen-emoji"),
)
"""What is looked at: its name, the artifact's, and what it must show."""


def open_artifact(page: Any, artifact: str, shown: str) -> None:
    """Open the artifacts of a name one after another, until one shows what is looked for."""
    nodes = page.get_by_text(artifact, exact=True)
    for number in range(nodes.count()):
        nodes.nth(number).dispatch_event("click")  # the map of the graph may lie over it
        page.get_by_text("Visualization", exact=True).first.click()
        for _ in range(15):
            if shown in text_of(page):
                return
            page.wait_for_timeout(1000)
        page.locator("[aria-label='close']").first.click()
    raise AssertionError(f"no artifact {artifact!r} shows {shown!r}")


def text_of(page: Any) -> str:
    """Text of a page and of the documents inside it."""
    return " ".join(frame.inner_text("body") for frame in page.frames)


def test_an_artifact_is_a_pointer_into_the_root(kubeflow: Kubeflow, clicked: str) -> None:
    """Kubeflow keeps a small JSON, whose address is sealed below the root."""
    listed = kubeflow.json("plan", "emoji", *small_settings(), "--data", kubeflow.data)

    assert listed["stages"]["train"]["done"]  # found by its key, below the same root, from this machine


def small_settings() -> list[str]:
    from tests.support.whole_run import SMALL

    return [word for setting in SMALL for word in ("--set", setting)]


def test_a_wrong_value_is_refused_by_the_first_task_in_one_line(kubeflow: Kubeflow) -> None:
    ids = kubeflow.json("publish", "--data", kubeflow.data)
    wrong = {"settings": "training.stepps=5"}
    run = kubeflow.api("runs", started(kubeflow, ids, "wrong value", wrong))

    assert kubeflow.ended(run["run_id"]) == "FAILED"
    told = kubeflow.mmgen("status", run["run_id"])
    assert "did you mean 'training.steps'" in told
    assert "validate" in told
    log = kubeflow.mmgen("logs", run["run_id"], "--stage", "validate")
    assert "restart" not in log  # an error of the user is not tried again


def test_a_value_outside_the_drop_down_is_refused_by_the_server(kubeflow: Kubeflow) -> None:
    import urllib.error

    ids = kubeflow.json("publish", "--data", kubeflow.data)

    with pytest.raises(urllib.error.HTTPError) as caught:
        kubeflow.api("runs", started(kubeflow, ids, "wrong recipe", {"recipe": "emojy"}))

    assert b"emojy" in caught.value.read()


def started(kubeflow: Kubeflow, ids: dict[str, Any], name: str, values: dict[str, Any]) -> dict[str, Any]:
    """The body with which the pages start a run: the form's defaults, and what was changed in it."""
    version = kubeflow.api(f"pipelines/{ids['pipeline_id']}/versions/{ids['version_id']}")
    spec = version["pipeline_spec"].get("pipeline_spec", version["pipeline_spec"])
    form = {key: each.get("defaultValue") for key, each in spec["root"]["inputDefinitions"]["parameters"].items()}
    experiments = kubeflow.api(f"experiments?namespace={kubeflow.namespace}")["experiments"]
    return {
        "display_name": name,
        "experiment_id": next(each["experiment_id"] for each in experiments if each["display_name"] == "mmgen"),
        "pipeline_version_reference": {"pipeline_id": ids["pipeline_id"], "pipeline_version_id": ids["version_id"]},
        "runtime_config": {"parameters": form | values},
    }
