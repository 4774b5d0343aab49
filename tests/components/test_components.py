"""Each component on the outputs of a finished run: what it hands to Kubeflow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.evaluate import evaluate
from components.gate import gate
from components.judge import judge
from components.register import register
from components.report import report
from components.train import train
from components.validate import validate
from mmgen.errors import ConfigError, DataError
from mmgen.files import open_sealed
from tests.support.whole_run import WholeRun

KINDS: dict[str, type[dsl.Artifact]] = {"page": dsl.HTML, "metrics": dsl.Metrics}


def call(component: Any, ran: WholeRun, folder: Path, data: Path | None = None) -> dict[str, Any]:
    """Run a component's function as Kubeflow would; its output artifacts."""
    same = {"recipe": "emoji", "settings": ran.settings, "root": str(ran.root), "data": str(data or ran.data)}
    spec = component.component_spec
    inputs = {name: dsl.Artifact(name=name) for name, given in spec.inputs.items() if "@" in given.type}
    outputs = {
        name: KINDS.get(name, dsl.Artifact)(name=name, uri=str(folder / name)) for name, given in spec.outputs.items()
    }
    more = {"promote": True} if "promote" in spec.inputs else {}
    component.python_func(**same, kfp_run="", **more, **inputs, **outputs)
    return outputs


def test_the_data_sets_version_and_page_are_shown(ran: WholeRun, tmp_path: Path) -> None:
    made = call(validate, ran, tmp_path)

    pointer = json.loads(Path(made["dataset"].path).read_text())
    assert pointer == {
        "address": str(ran.data / "emoji"),
        "name": "emoji",
        "version": ran.summary["data_version"],
    }
    assert made["dataset"].metadata["version"] == ran.summary["data_version"]
    assert made["metrics"].metadata["samples"] > 100
    assert made["metrics"].metadata["expectations_met"] == made["metrics"].metadata["expectations"]
    assert "<html" in Path(made["page"].path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("component", "output"),
    [(judge, "judge_model"), (train, "model"), (evaluate, "scores"), (gate, "verdict"), (register, "version")],
)
def test_an_artifact_points_to_the_sealed_folder_of_its_stage_and_keeps_its_uri(
    ran: WholeRun, tmp_path: Path, component: Any, output: str
) -> None:
    """Kubeflow's launcher opens the `uri` of each input in the next task, and knows none but its own."""
    made = call(component, ran, tmp_path)

    pointer = json.loads(Path(made[output].path).read_text())
    seal = open_sealed(Path(pointer["address"]))
    assert seal["stage"] == pointer["stage"] == component.name
    assert seal["key"] == pointer["key"]
    assert made[output].uri == str(tmp_path / output)
    assert made[output].metadata


@pytest.mark.parametrize("component", [validate, judge, train, evaluate])
def test_metrics_are_few_plain_numbers(ran: WholeRun, tmp_path: Path, component: Any) -> None:
    made = call(component, ran, tmp_path)["metrics"].metadata

    assert 0 < len(made) <= 15
    assert all(type(value) in (int, float) for value in made.values())


def test_the_headline_scores_are_those_of_the_summary(ran: WholeRun, tmp_path: Path) -> None:
    made = call(evaluate, ran, tmp_path)["metrics"].metadata

    assert made["image.r1_seen"] == ran.summary["metrics"]["image.r1_seen"]["value"]


def test_the_verdict_is_a_page_for_people(ran: WholeRun, tmp_path: Path) -> None:
    made = call(gate, ran, tmp_path)

    assert made["verdict"].metadata == {"decision": "keep"}
    assert "judge.accuracy" in Path(made["page"].path).read_text(encoding="utf-8")


def test_the_report_is_one_page_that_needs_nothing_else(ran: WholeRun, tmp_path: Path) -> None:
    page = Path(call(report, ran, tmp_path)["page"].path).read_text(encoding="utf-8")

    assert "<html" in page
    assert 'src="http' not in page


def test_a_refused_data_set_leaves_its_page_and_an_event(
    ran: WholeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, great_expectations: None
) -> None:
    shutil.copytree(ran.data, tmp_path / "data")
    shard = sorted((tmp_path / "data" / "emoji").glob("train-*.tar"))[0]
    shard.write_bytes(shard.read_bytes()[:-2000])
    events = tmp_path / "events.jsonl"
    monkeypatch.setenv("MMGEN_EVENTS", str(events))
    alone = WholeRun(tmp_path / "runs", ran.data, 0, "", {})

    with pytest.raises(DataError, match=shard.name):
        call(validate, alone, tmp_path, tmp_path / "data")

    told = [json.loads(line) for line in events.read_text().splitlines()]
    assert [event["state"] for event in told if event.get("event") == "stage"] == ["running", "failed"]
    assert told[-1]["error"]["exit_code"] == 20
    assert shard.name in told[-1]["error"]["message"]
    assert "<html" in (tmp_path / "page").read_text(encoding="utf-8")


def test_a_wrong_setting_is_told_before_anything_runs(
    ran: WholeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = tmp_path / "events.jsonl"
    monkeypatch.setenv("MMGEN_EVENTS", str(events))
    inputs = {"dataset": dsl.Dataset()}
    outputs = {"model": dsl.Model(), "metrics": dsl.Metrics()}

    with pytest.raises(ConfigError, match=r"model\.width"):
        train.python_func("emoji", "model.widht=1", str(ran.root), str(ran.data), "", **inputs, **outputs)

    assert json.loads(events.read_text())["error"]["exit_code"] == 10
