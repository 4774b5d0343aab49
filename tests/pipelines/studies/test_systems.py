"""The page of all systems: every figure on it comes from a run, in the order that its task gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmgen import recipes
from mmgen.files import read_json
from pipelines.studies import ablations, systems
from tests.support.whole_run import mmgen


def entry(name: str, value: float) -> dict[str, object]:
    score = {"name": name, "what": "in words", "value": value, "low": value - 0.1, "high": value + 0.1, "n": 1234}
    return {
        "minutes": 1.5, "training_seconds": 60.0, "parameters": 2_500_000, "verdict": "promote",
        "machine": "2 cores", "scores": [score, {**score, "name": "second"}],
    }  # fmt: skip


def test_the_page_has_a_row_and_a_table_for_each_measured_size() -> None:
    page = systems.page({"gan": {"small": entry("image.kid", 0.5), "default": entry("image.kid", 0.25)}}, {})

    assert "| [gan](#gan) | small | 1.5 | 60 | 2.50 M | promote | `image.kid` 0.500 [0.400, 0.600] |" in page
    assert "| `image.kid` | 0.250 [0.150, 0.350] | 1,234 | in words |" in page
    assert page.index("`image.kid` | 0.5") < page.index("`second`")
    assert "## vae" not in page


def test_ablations_stand_on_the_page_and_a_clear_difference_is_bold() -> None:
    def score(low: float) -> dict[str, object]:
        return {"without": 0.5, "with": 0.6, "difference": {"value": 0.1, "low": low, "high": 0.2, "n": 9}}

    name = "augment-captioner"
    ablation = ablations.ABLATIONS[name]
    found = {
        "kind": ablation.kind, "what": ablation.what, "recipe": ablation.recipe, "seeds": 3,
        "scores": {"text.exact_seen": score(0.05), "text.chrf_concepts": score(-0.01)},
    }  # fmt: skip
    page = systems.page({}, {name: found})

    assert "## Improvements" in page
    assert "`text.exact_seen` | 0.500 | 0.600 | **+0.100 [+0.050, +0.200]** | 3 |" in page
    assert "`text.chrf_concepts` | 0.500 | 0.600 | +0.100 [-0.010, +0.200] | 3 |" in page


@pytest.mark.parametrize("name", ablations.ABLATIONS)
def test_both_arms_of_an_ablation_are_runs_that_differ_in_what_it_names(name: str) -> None:
    ablation = ablations.ABLATIONS[name]
    without = recipes.get(ablation.recipe, [*ablation.shared, *ablation.without])
    improved = recipes.get(ablation.recipe, [*ablation.shared, *ablation.improved])

    assert without != improved or ablation.source
    assert without.training.steps == improved.training.steps


def test_an_unknown_ablation_is_one_line(tmp_path: Path) -> None:
    done = mmgen("ablate", "augment-captain", "--root", str(tmp_path))

    assert done.returncode == 10
    assert "did you mean 'augment-captioner'?" in done.stderr
    assert len(done.stderr.splitlines()) == 1


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
