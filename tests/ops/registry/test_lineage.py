"""From any id of a run to the others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mmgen.errors import ConfigError
from mmgen.ops.registry.lineage import Lineage, lineage
from mmgen.ops.registry.registration import register
from mmgen.ops.tracking.stage_run import stage_run
from tests.support.runs import make_trained, small_run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Path:
    """One registry for all tests here: they only read it."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copy(migrated_database, folder / "mlflow.db")
    return folder


@pytest.fixture(scope="module")
def known(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Lineage:
    """Two registered runs, and one that never got that far; the ids of the first."""
    ids = ("", "")
    tmp_path = tmp_path_factory.mktemp("out")
    for number in (2, 1):
        run = small_run(root, number)
        make_trained(run, shade=number, champion={2: None, 1: "1"}[number])
        with stage_run(run, "register", tmp_path, kfp_run_id=f"kfp-run-{number}") as tracked:
            register(run, tracked, tmp_path, kfp_run_id=f"kfp-run-{number}")
            ids = (tracked.parent_id, tracked.run_id)
    with stage_run(small_run(root, 3), "train", tmp_path):
        pass
    first = small_run(root, 1)
    return Lineage(
        git_commit=first.git_commit,
        git_dirty=False,
        data_version=first.data_version,
        kfp_run_id="kfp-run-1",
        mlflow_run_id=ids[0],
        model_version="mmgen-emoji/2",
        run_key=first.keys.run_key,
        stage_runs=(ids[1],),
    )


def test_every_id_leads_to_all_the_others(root: Path, known: Lineage) -> None:
    for wanted in (
        known.git_commit,
        known.data_version,
        known.kfp_run_id,
        known.mlflow_run_id,
        known.stage_runs[0],
        known.model_version,
        "2",
        known.run_key,
        known.run_key[:6],
        known.mlflow_run_id[:8],
    ):
        assert lineage(root, wanted) == known


def test_a_run_without_a_model_is_found_too(root: Path, known: Lineage) -> None:
    found = lineage(root, small_run(root, 3).keys.run_key)

    assert (found.model_version, found.kfp_run_id) == ("", "")
    assert found.data_version == small_run(root, 3).data_version


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("0000000000", r"belongs to 3 runs; name one of them: mmgen-emoji/2, mmgen-emoji/1, run key 0003aaaa"),
        ("ffffffffff", "no run has the id 'ffffffffff'; give a git commit"),
        ("mmgen-emoji/9", "no run has the id 'mmgen-emoji/9'"),
        ("9", "no run has the id '9'"),
        ("0001a", "'0001a' is too short"),
        ("", "'' is too short"),
    ],
)
def test_an_id_that_is_not_one_run_is_refused_with_the_way_out(
    root: Path, known: Lineage, wanted: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        lineage(root, wanted)


def test_nothing_is_known_before_the_first_run(tmp_path: Path, migrated_database: Path) -> None:
    shutil.copy(migrated_database, tmp_path / "mlflow.db")

    with pytest.raises(ConfigError, match="no run has the id"):
        lineage(tmp_path, "0001aaaabbbbcccc")
