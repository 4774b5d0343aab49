"""The compiled pipeline: the committed file is what the code compiles to, and holds nothing of this machine."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmgen.errors import ConfigError
from mmgen.ops.keys import STAGES
from pipelines import compile as compiling


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(compiling.compiled())
    return content


def test_the_committed_pipeline_is_what_the_code_compiles_to() -> None:
    compiling.check()


def test_compiling_twice_gives_the_same_bytes_and_names_no_folder_of_this_machine() -> None:
    first = compiling.compiled()

    assert first == compiling.compiled()
    assert str(Path.home()).encode() not in first
    assert str(compiling.GOLDEN.parents[2]).encode() not in first


def test_a_pipeline_that_drifted_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "pipelines" / "compiled" / "training.yaml"
    monkeypatch.setattr(compiling, "GOLDEN", other)
    with pytest.raises(ConfigError, match="run: mmgen compile"):
        compiling.check()

    compiling.write()
    compiling.check()
    other.write_text(other.read_text() + "\n")

    with pytest.raises(ConfigError, match=r"pipelines/compiled/training\.yaml"):
        compiling.check()


def test_the_stages_are_the_tasks_in_order(spec: dict[str, Any]) -> None:
    tasks = spec["root"]["dag"]["tasks"]

    assert set(tasks) == set(STAGES)
    for earlier, later in itertools.pairwise(STAGES):
        assert earlier in tasks[later]["dependentTasks"]


def test_nothing_is_installed_when_a_task_starts(spec: dict[str, Any]) -> None:
    for executor in spec["deploymentSpec"]["executors"].values():
        assert "pip" not in " ".join(executor["container"]["command"][:3])


def test_kubeflows_own_cache_is_off(spec: dict[str, Any]) -> None:
    assert not any(task["cachingOptions"].get("enableCache") for task in spec["root"]["dag"]["tasks"].values())


def test_every_input_of_the_pipeline_is_described_and_has_a_default(spec: dict[str, Any]) -> None:
    inputs = spec["root"]["inputDefinitions"]["parameters"]

    assert set(inputs) == {"recipe", "settings", "root", "data", "promote"}
    assert all(entry["description"] and "defaultValue" in entry for entry in inputs.values())
