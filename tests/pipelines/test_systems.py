"""The page of all systems: every figure on it comes from a run, in the order that its task gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmgen import recipes
from mmgen.files import read_json
from pipelines import systems
from tests.whole_run import mmgen


def entry(name: str, value: float) -> dict[str, object]:
    score = {"name": name, "what": "in words", "value": value, "low": value - 0.1, "high": value + 0.1, "n": 1234}
    return {
        "minutes": 1.5, "training_seconds": 60.0, "parameters": 2_500_000, "verdict": "promote",
        "machine": "2 cores", "scores": [score, {**score, "name": "second"}],
    }  # fmt: skip


def test_the_page_has_a_row_and_a_table_for_each_measured_size() -> None:
    page = systems.page({"gan": {"small": entry("image.kid", 0.5), "default": entry("image.kid", 0.25)}})

    assert "| [gan](#gan) | small | 1.5 | 60 | 2.50 M | promote | `image.kid` 0.500 [0.400, 0.600] |" in page
    assert "| `image.kid` | 0.250 [0.150, 0.350] | 1,234 | in words |" in page
    assert page.index("`image.kid` | 0.5") < page.index("`second`")
    assert "## vae" not in page


@pytest.mark.parametrize("name", recipes.NAMES)
def test_what_is_written_down_belongs_to_a_recipe_that_is_there(name: str) -> None:
    measured = read_json(systems.MEASURED).get(name, {})

    assert set(measured) <= {"small", "default"}
    for size in measured:
        assert systems._pictures(name, size), f"{name} {size} has no picture in docs/images/systems"
    assert set(read_json(systems.MEASURED)) <= set(recipes.NAMES)


def test_recipes_are_listed_with_cost_and_scores(tmp_path: Path) -> None:
    done = mmgen("recipes", "--json")

    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert list(listed) == list(recipes.NAMES)
    assert all(found["about"] for found in listed.values())
