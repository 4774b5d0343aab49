"""Faults 34 and 35: a poisoned registry runs nothing, and nonsense is refused before the registry hears of it."""

from __future__ import annotations

import dataclasses
import os
import pickle
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mmgen.data.config import DataConfig
from mmgen.errors import ConfigError, StorageError
from mmgen.files import seal
from mmgen.ops.registry.candidate import plain_name
from mmgen.ops.registry.registration import register
from mmgen.ops.registry.registry import fetch
from mmgen.ops.runs.run import Run
from mmgen.ops.tracking.client import connected, tracking_uri
from mmgen.ops.tracking.stage_run import stage_run
from mmgen.ops.tracking.tracked import Tracked, model_sha256
from tests.ops.conftest import migrated_database, own_tracker, root
from tests.support.runs import SmallModel, make_trained, small_run

__all__ = ["migrated_database", "own_tracker", "root"]

NAME = "mmgen-emoji"


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


@pytest.fixture
def registered(root: Path, tmp_path: Path) -> tuple[Path, str]:
    """Folder of a registered version in the registry's store, whose stage is gone from this machine; its sha256."""
    run = small_run(root)
    make_trained(run)
    (tmp_path / "out").mkdir()
    with stage_run(run, "register", tmp_path / "out") as tracked:
        register(run, tracked, tmp_path / "out")
    sha256 = model_sha256(run.folder("train") / "model")
    shutil.rmtree(run.folder("train"))
    with connected(tracking_uri(root)) as client:
        uri = client.get_model_version_download_uri(NAME, "1")
    return Path(uri.removeprefix("file://")), sha256


def test_34_a_pickle_in_place_of_the_weights_is_refused_and_not_run(
    registered: tuple[Path, str], root: Path, tmp_path: Path
) -> None:
    store, sha256 = registered
    canary = tmp_path / "canary"
    weights = store / "artifacts" / "model" / "weights.safetensors"
    assert weights.is_file()
    pickle.loads(pickle.dumps(Bomb(tmp_path / "armed")))
    assert (tmp_path / "armed").is_dir()
    weights.write_bytes(pickle.dumps(Bomb(canary)))

    with pytest.raises(StorageError, match=f"registered as {sha256[:12]}: it was altered"):
        fetch(root, NAME, "1")

    assert not canary.exists()
    assert not (root / "models" / NAME / "1").exists()


@pytest.mark.parametrize("name", ["MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"])
def test_34_files_around_the_model_are_not_even_read(
    registered: tuple[Path, str], root: Path, tmp_path: Path, name: str
) -> None:
    store, sha256 = registered
    canary = tmp_path / "canary"
    assert (store / name).is_file()
    (store / name).write_text(f"!!python/object/apply:os.mkdir ['{canary}']\n")

    folder = fetch(root, NAME, "1")

    assert model_sha256(folder) == sha256
    assert not canary.exists()


def test_34_mlflow_itself_does_not_unpickle_a_model_that_was_slipped_in(
    registered: tuple[Path, str], root: Path, tmp_path: Path
) -> None:
    store, _ = registered
    canary = tmp_path / "canary"
    (store / "model.pkl").write_bytes(pickle.dumps(Bomb(canary)))
    flavour = "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n    python_model: model.pkl\n"
    (store / "MLmodel").write_text(flavour + "    cloudpickle_version: 3.1.2\n    python_version: 3.11.7\n")

    with connected(tracking_uri(root)), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.pyfunc

        with pytest.raises(mlflow.exceptions.MlflowException, match=r"(?i)pickle"):
            mlflow.pyfunc.load_model(str(store))

    assert not canary.exists()


def gone(run: Run) -> None:
    shutil.rmtree(run.folder("train"))


def unsealed(run: Run) -> None:
    (run.folder("train") / "SEAL.json").unlink()


def another_run(run: Run) -> None:
    other = small_run(run.root, 2)
    make_trained(other, shade=2)
    shutil.rmtree(run.folder("train"))
    other.folder("train").rename(run.folder("train"))


def link_to_the_folder(run: Run) -> None:
    run.folder("train").rename(run.root / "elsewhere")
    run.folder("train").symlink_to(run.root / "elsewhere")


def link_in_the_model(run: Run) -> None:
    weights = run.folder("train") / "model" / "weights.safetensors"
    weights.rename(run.root / "weights")
    weights.symlink_to(run.root / "weights")


def verdict(text: str) -> Callable[[Run], None]:
    def spoil(run: Run) -> None:
        (run.folder("gate") / "verdict.json").write_text(text)
        seal(run.folder("gate"), **run.facts("gate"))

    return spoil


SPOILS = {
    "missing": gone,
    "unsealed": unsealed,
    "another run's": another_run,
    "a link to the folder": link_to_the_folder,
    "a link in the model": link_in_the_model,
    "a score that is no number": verdict('{"decision": "promote", "reasons": [], "table": [{"value": NaN}]}'),
    "an unknown decision": verdict('{"decision": "promote\\n", "reasons": []}'),
    "no verdict": verdict("[]"),
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS.keys())
def test_35_nonsense_is_refused_before_the_registry_is_asked(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Run], None]
) -> None:
    run = small_run(root)
    make_trained(run)
    spoil(run)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # whoever asks it gets a TrackingError

    with pytest.raises(StorageError) as caught:
        register(run, Tracked(), tmp_path)

    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model.json").exists()


@pytest.mark.parametrize("name", ["a\nb", "../up", "x" * 300, "$(touch canary)", "a b", "a:b", "%2e%2e", "", "é"])
def test_35_a_hostile_name_is_refused_in_one_line(name: str) -> None:
    """Of a data set, and of a model: a data set's name becomes part of that of its models."""
    for refuse in (lambda: DataConfig(name=name), lambda: plain_name(name)):
        with pytest.raises(ConfigError) as caught:
            refuse()

        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 250


@dataclass(frozen=True, kw_only=True, slots=True)
class Wordy(SmallModel):
    text: str = ""


def test_35_a_long_param_is_kept_by_its_beginning_and_its_sha256(root: Path, tmp_path: Path) -> None:
    run = small_run(root)
    run = dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, model=Wordy(text="x" * 7000)))

    for stage in ("validate", "gate"):
        (tmp_path / stage).mkdir()
        with stage_run(run, stage, tmp_path / stage) as tracked:
            pass

    with connected(tracking_uri(root)) as client:
        found = client.get_run(tracked.parent_id).data
    assert len(found.params["model.text"]) == 6000
    assert " ... sha256 " in found.params["model.text"]
    assert "mmgen.param_conflict" not in found.tags
