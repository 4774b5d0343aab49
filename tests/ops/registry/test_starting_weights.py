"""First weights: found by name, kept under a key that says what is in them, refused when they are not whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mmgen.errors import ConfigError, StorageError
from mmgen.files import is_sealed
from mmgen.ops.registry.registration import register
from mmgen.ops.registry.starting_weights import initial_model, setting
from mmgen.ops.runs.cache import run_stage
from mmgen.ops.tracking.stage_run import stage_run
from mmgen.ops.tracking.tracked import model_sha256
from mmgen.recipes import get
from tests.support.runs import fill_train, make_trained, small_run


def test_the_champion_is_named_by_the_key_of_its_training(root: Path, tmp_path: Path) -> None:
    run = small_run(root)
    make_trained(run)
    with stage_run(run, "register", tmp_path) as tracked:
        register(run, tracked, tmp_path)

    assert setting(root, "champion", "emoji") == f"training.init_from={run.keys.stages['train']}"
    assert setting(root, "emoji", "show-and-tell") == setting(root, "champion", "emoji")
    with pytest.raises(ConfigError, match=r"mmgen-emoji-on-pets has no champion .* --set data\.name=pets"):
        setting(root, "emoji@pets", "emoji")


def test_a_training_below_the_root_is_used_where_it_lies(root: Path) -> None:
    run = small_run(root)
    make_trained(run)

    found = setting(root, str(run.folder("train")), "emoji")

    assert found == f"training.init_from={run.keys.stages['train']}"
    assert initial_model(root, get("emoji", [found])) == run.folder("train") / "model"
    assert initial_model(root, get("emoji")) is None


def test_a_model_from_elsewhere_is_adopted_under_a_key_of_its_bytes(root: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    fill_train(tmp_path / "theirs", shade=7)

    found = setting(root, str(tmp_path / "theirs"), "emoji")
    again = setting(root, str(tmp_path / "theirs" / "model"), "emoji")
    shutil.rmtree(tmp_path / "theirs")

    model = initial_model(root, get("emoji", [found]))
    assert found == again
    assert model is not None
    assert is_sealed(model.parent)
    assert found.endswith(model_sha256(model)[:16])


def test_what_is_no_model_or_was_altered_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no model"):
        setting(root, str(tmp_path), "emoji")
    with pytest.raises(StorageError, match="are not there"):
        initial_model(root, get("emoji", ["training.init_from=0123456789abcdef"]))
    folder = run_stage("train", "0123456789abcdef", root, fill_train, facts={}).folder
    (folder / "model" / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(StorageError, match=r"weights\.safetensors"):
        initial_model(root, get("emoji", ["training.init_from=0123456789abcdef"]))
    with pytest.raises(StorageError, match=r"weights\.safetensors"):
        setting(root, str(folder), "emoji")
