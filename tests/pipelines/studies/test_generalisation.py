"""A trained model judged on another data set: the gap, and what is no data of its kind."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from mmgen.data.dataset import load
from mmgen.files import open_sealed
from tests.conftest import rewrite
from tests.support.whole_run import SMALL, WholeRun, mmgen


@pytest.fixture(scope="module")
def home(ran: WholeRun, tmp_path_factory: pytest.TempPathFactory) -> WholeRun:
    """The whole run in a root of its own: a new evaluation is one more stage in it."""
    root = ran.copied(tmp_path_factory.mktemp("home") / "runs")
    (root / "mlflow.db").unlink()  # it names the folders of the run that it was made by
    return dataclasses.replace(ran, root=root)


def evaluate(home: WholeRun, other: Path, out: Path) -> tuple[int, str, str]:
    settings = [word for setting in SMALL for word in ("--set", setting)]
    done = mmgen("evaluate", "emoji", *settings, "--root", str(home.root), "--data", str(other), "--out", str(out))
    return done.returncode, done.stdout, done.stderr


def test_the_gap_to_another_data_set_is_measured(home: WholeRun, tmp_path: Path) -> None:
    there = tmp_path / "there"
    shutil.copytree(home.data, there)
    dataset = load(there / "emoji")
    rewrite(there / "other", dataset.card, {split: dataset.split(split)[:40] for split in dataset.card.splits})

    code, said, complaint = evaluate(home, there / "other", tmp_path / "out")

    assert code == 0, complaint
    assert "gap (95 %)" in said
    found = json.loads((tmp_path / "out" / "gap.json").read_text())
    own = json.loads((tmp_path / "out" / "metrics.json").read_text())
    for row in found["metrics"].values():
        assert row["gap"]["value"] == pytest.approx(row["there"]["value"] - row["home"]["value"])
        assert row["gap"]["low"] <= row["gap"]["value"] <= row["gap"]["high"]
    assert found["metrics"]["text.chrf_compositions"]["there"]["n"] == 40
    assert own["text.chrf_compositions"]["n"] == 40
    assert open_sealed(tmp_path / "out")["scores_of"]


def test_data_of_another_kind_are_refused(home: WholeRun, tmp_path: Path, digits: Path) -> None:
    there = tmp_path / "there"
    shutil.copytree(home.data, there)
    shutil.copytree(digits, there / "digits")
    card = json.loads((there / "digits" / "dataset.json").read_text())
    card["languages"] = []
    (there / "digits" / "dataset.json").write_text(json.dumps(card))

    code, _, complaint = evaluate(home, there / "digits", tmp_path / "out")

    assert code == 10
    assert "has no captions in en; a model is judged on data of its own kind" in complaint
