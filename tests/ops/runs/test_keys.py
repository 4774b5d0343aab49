"""Keys: what changes them, what does not, and what is said about it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mmgen.data.config import DataConfig
from mmgen.errors import ConfigError
from mmgen.evaluation.config import EvaluationConfig, JudgeConfig
from mmgen.ops.runs.keys import ENTRIES, STAGES, Keys, changes, key_of, scores_parts, stage_keys
from mmgen.recipes import Recipe
from mmgen.training.config import TrainingConfig
from tests.support.runs import SmallModel

DATA = "0" * 32 + ".dir"
BASE = Recipe(name="emoji", model=SmallModel())


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A small package with the stages' modules, and the model's."""
    sources = {name: "import json\n" for names in ENTRIES.values() for name in names}
    sources |= dict.fromkeys(
        ("mmgen.evaluation.judges.views_judge", "mmgen.evaluation.tasks.captioned", "mmgen.modalities.image"), ""
    )
    sources |= {
        "mmgen.training.train": "from mmgen.training import loop\nfrom mmgen.recipes import Recipe\nimport torch\n",
        "mmgen.training.loop": "def run():\n    from .deep import step\n    from mmgen import progress\n",
        "mmgen.training.deep": "import mmgen.files\n",
        "mmgen.training.idle": "",
        "mmgen.files": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mmgen.training import idle\n",
        "mmgen.progress": "",
        "mmgen.recipes.recipe": "",
        "tests.support.runs": "",
        "tests.support.layers": "",
    }
    for name, source in sources.items():
        path = tmp_path / "code" / (name.replace(".", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    (tmp_path / "code" / "mmgen" / "recipes" / "__init__.py").write_text("")
    (tmp_path / "code" / "mmgen" / "training" / "__init__.py").write_text("")
    (tmp_path / "code" / "gates.yaml").write_text("default: {}\n")
    return tmp_path / "code"


def keys(code: Path, recipe: Recipe = BASE, data: str = DATA) -> Keys:
    return stage_keys(recipe, data, ["image"], rules=code / "gates.yaml", code=code)


def changed(before: Keys, after: Keys) -> list[str]:
    return [stage for stage in STAGES if before.stages[stage] != after.stages[stage]]


LATER = ["evaluate", "gate", "register", "report"]


@pytest.mark.parametrize(
    ("recipe", "stages"),
    [
        (dataclasses.replace(BASE, training=TrainingConfig(steps=5)), ["train", *LATER]),
        (dataclasses.replace(BASE, training=TrainingConfig(threads=5)), ["judge", "train", *LATER]),
        (dataclasses.replace(BASE, model=SmallModel(width=16)), ["train", *LATER]),
        (dataclasses.replace(BASE, seed=1), ["train", *LATER]),
        (dataclasses.replace(BASE, judge=JudgeConfig(steps=5)), ["judge", *LATER]),
        (dataclasses.replace(BASE, evaluation=EvaluationConfig(seen=99)), LATER),
        (dataclasses.replace(BASE, data=DataConfig(languages=("de",))), ["validate", "train", *LATER]),
        (dataclasses.replace(BASE, name="other"), LATER[1:]),
    ],
    ids=["training", "threads", "model", "seed", "judge", "evaluation", "data", "name"],
)
def test_a_setting_changes_the_stages_that_read_it_and_those_after(
    code: Path, recipe: Recipe, stages: list[str]
) -> None:
    before, after = keys(code), keys(code, recipe)

    assert changed(before, after) == stages
    assert before.run_key != after.run_key


def test_other_data_change_every_stage(code: Path) -> None:
    assert changed(keys(code), keys(code, data="1" * 32 + ".dir")) == list(STAGES)


def test_the_same_run_has_the_same_keys(code: Path) -> None:
    assert keys(code) == keys(code)
    assert all(len(key) == 16 and int(key, 16) for key in keys(code).stages.values())


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("training/deep.py", ["train", *LATER]),
        ("training/__init__.py", ["train", *LATER]),
        ("../tests/support/runs.py", ["train", *LATER]),
        ("../tests/support/layers.py", ["train", *LATER]),
        ("evaluation/judges/views_judge.py", ["judge", *LATER]),
        ("ops/validation/checks.py", ["validate", "register", "report"]),
        ("ops/registry/pyfunc_model.py", ["register", "report"]),
        ("evaluation/report/report.py", ["report"]),
        ("progress.py", []),
        ("recipes/recipe.py", []),
        ("training/idle.py", []),
    ],
)
def test_code_changes_the_stages_that_import_it(code: Path, module: str, stages: list[str]) -> None:
    before = keys(code)
    path = code / "mmgen" / module
    path.write_text(path.read_text() + "# more\n")

    assert changed(before, keys(code)) == stages


def test_a_change_in_validation_costs_training_only_when_samples_may_be_set_aside(code: Path) -> None:
    recipe = dataclasses.replace(BASE, data=DataConfig(quarantine=0.01))
    before = keys(code, recipe)
    (code / "mmgen" / "ops" / "validation" / "checks.py").write_text("# other expectations\n")

    assert changed(before, keys(code, recipe)) == ["validate", "train", *LATER]


def test_rules_change_the_verdict_and_what_follows_only(code: Path) -> None:
    before = keys(code)
    (code / "gates.yaml").write_text("default: {level: 0.9}\n")

    assert changed(before, keys(code)) == LATER[1:]


def test_another_image_is_another_run_of_the_same_stages(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(code)
    monkeypatch.setenv("MMGEN_IMAGE_DIGEST", "sha256:1234")

    assert changed(before, keys(code)) == ["register", "report"]
    assert before.run_key != keys(code).run_key


def test_a_change_of_the_report_alone_is_the_same_run(code: Path) -> None:
    before = keys(code)
    (code / "mmgen" / "evaluation" / "report" / "report.py").write_text("# prettier\n")

    assert before.run_key == keys(code).run_key


def test_scores_of_the_run_itself_stand_under_its_own_key(code: Path) -> None:
    mine = keys(code)

    assert key_of(scores_parts(mine, mine.stages["train"], {})) == mine.stages["evaluate"]
    assert key_of(scores_parts(mine, "f" * 16, {})) != mine.stages["evaluate"]


def test_what_changed_is_said_in_words(code: Path) -> None:
    before = keys(code)
    (code / "mmgen" / "training" / "deep.py").write_text("import mmgen.files\nimport mmgen.training.idle\n")
    recipe = dataclasses.replace(BASE, training=TrainingConfig(steps=2000), seed=3)
    after = keys(code, recipe, "1" * 32 + ".dir")

    assert changes(before.parts["train"], after.parts["train"]) == [
        "seed: 0 -> 3",
        "training.steps: 3000 -> 2000",
        f"data: {DATA} -> {'1' * 32}.dir",
        "code of mmgen.training.deep changed",
        "code of mmgen.training.idle added",
    ]
    assert changes(before.parts["evaluate"], after.parts["evaluate"])[1:] == [
        "stage judge is new",
        "stage train is new",
    ]


def test_a_package_without_sources_is_refused(code: Path) -> None:
    (code / "mmgen" / "evaluation" / "judges" / "views_judge.py").unlink()

    with pytest.raises(
        ConfigError, match=r"'mmgen\.evaluation\.judges\.views_judge' has no source .* run from a clone"
    ):
        keys(code)


def test_missing_rules_are_refused(code: Path) -> None:
    (code / "gates.yaml").unlink()

    with pytest.raises(ConfigError, match=r"gates\.yaml' are missing; restore"):
        keys(code)
