"""A disagreement between any two places that say where a model comes from is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mmgen.files import read_json, write_json
from mmgen.ops.registry.lineage_check import check
from mmgen.ops.registry.registration import register
from mmgen.ops.runs.run import Run
from mmgen.ops.tracking.client import connected, tracking_uri
from mmgen.ops.tracking.stage_run import stage_run
from tests.support.runs import make_trained, small_run

NAME = "mmgen-emoji"


@pytest.fixture
def run(root: Path, tmp_path: Path) -> Run:
    """One run, registered, with the folder that KFP's local runner leaves."""
    run = small_run(root)
    make_trained(run)
    out = tmp_path / "out"
    out.mkdir()
    with stage_run(run, "register", out, kfp_run_id="kfp-1") as tracked:
        register(run, tracked, out, kfp_run_id="kfp-1")
    metadata = read_json(out / "model.json")
    artifact = {"artifacts": {"version": {"artifacts": [{"name": "version", "uri": "", "metadata": metadata}]}}}
    write_json(root / "kfp" / "a" / "b" / "register" / "executor_output.json", artifact)
    return run


def test_what_one_run_left_agrees_in_all_places(root: Path, run: Run) -> None:
    found = check(root)

    assert found.disagreements == []
    places = {"MLflow run", "registered model", "promotion", "Kubeflow artifact", "training stage"}
    assert found.places == dict.fromkeys(places, 1)


def tag_of_version(root: Path, run: Run) -> None:
    with connected(tracking_uri(root)) as client:
        client.set_model_version_tag(NAME, "1", "mmgen.data_version", "0" * 32 + ".dir")


def tag_of_run(root: Path, run: Run) -> None:
    with connected(tracking_uri(root)) as client:
        client.set_tag(client.get_model_version(NAME, "1").tags["mmgen.mlflow_run_id"], "mmgen.git_commit", "f" * 40)


def missing_run(root: Path, run: Run) -> None:
    with connected(tracking_uri(root)) as client:
        client.set_model_version_tag(NAME, "1", "mmgen.mlflow_run_id", "0" * 32)


def registered_seal(root: Path, run: Run) -> None:
    path = next((root / "mlartifacts").rglob("models/**/model/SEAL.json"))
    path.write_text(path.read_text().replace(run.keys.run_key, "f" * 16))


def missing_model(root: Path, run: Run) -> None:
    next((root / "mlartifacts").rglob("models/**/model/SEAL.json")).unlink()


def kubeflow(root: Path, run: Run) -> None:
    path = root / "kfp" / "a" / "b" / "register" / "executor_output.json"
    path.write_text(json.dumps(json.loads(path.read_text().replace("kfp-1", "kfp-2"))))


def log_of_promotions(root: Path, run: Run) -> None:
    path = root / "shelf" / "promotions" / NAME / "000001"
    path.write_text(path.read_text().replace(run.keys.run_key, "f" * 16))


def alias(root: Path, run: Run) -> None:
    with connected(tracking_uri(root)) as client:
        client.delete_registered_model_alias(NAME, "champion")


def weights(root: Path, run: Run) -> None:
    (run.folder("train") / "model" / "weights.safetensors").write_bytes(b"other")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (tag_of_version, "data_version is 0000"),
        (tag_of_run, "git_commit is 0{39}1 by the version's tags, f{40} by its MLflow run"),
        (missing_run, "its MLflow run is gone"),
        (registered_seal, "run_key is 0001aaaabbbbcccc by the version's tags, f{16} by its registered model"),
        (missing_model, "its registered model is gone"),
        (kubeflow, "kfp_run_id is kfp-1 by the version's tags, kfp-2 by its Kubeflow artifact"),
        (log_of_promotions, "run_key is 0001aaaabbbbcccc by the version's tags, f{16} by its promotion"),
        (alias, "the registry's champion is nobody, by the log of promotions 1"),
        (weights, "model_sha256 is .* by its training stage"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_place_that_says_something_else_is_named(
    root: Path, run: Run, damage: Callable[[Path, Run], None], words: str
) -> None:
    import re

    damage(root, run)

    assert any(re.search(words, line) for line in check(root).disagreements), check(root).disagreements
