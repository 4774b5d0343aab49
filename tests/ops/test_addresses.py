"""What leaves this process names a place that others can reach: never a mirror, which only this machine has."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from mmgen.files import write_bytes
from mmgen.ops.distributed import processes, trainjob
from mmgen.ops.runs import attempts, ledger
from mmgen.ops.runs.cache import run_stage
from mmgen.ops.runs.run import Run, find_output
from mmgen.ops.stages import outputs
from mmgen.ops.storage.roots import address, open_root
from mmgen.ops.tracking.stage_run import _facts
from mmgen.training.config import TrainingConfig
from pipelines.cluster.images import UNPUSHED
from pipelines.cluster.submit import request
from tests.ops.distributed.test_trainjob import IMAGE
from tests.support import s3 as laboratory
from tests.support.runs import small_run
from tests.support.s3 import BUCKET, Proxy

# The fixtures of the S3 server, shared with other modules.
s3_server, s3 = laboratory.s3_server, laboratory.s3


@pytest.fixture
def run(s3: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Run:
    """A run whose root and data lie in a bucket; the data set was fetched into its mirror."""
    monkeypatch.setenv("MMGEN_CACHE", str(tmp_path / "copies-here"))
    root, data = (open_root(f"s3://{BUCKET}/{request.node.name}/{name}") for name in ("runs", "data"))
    run = small_run(root)
    recipe = dataclasses.replace(run.recipe, training=TrainingConfig(processes=8, device="cuda"))
    return dataclasses.replace(run, recipe=recipe, data_root=data, data_folder=data / "0123" / "emoji")


def leaving(run: Run, folder: Path) -> dict[str, str]:
    """All that a run tells others, as text."""
    outputs.write_pointer(run, "train", str(folder / "stage"))
    outputs.write_data_pointer(run, str(folder / "data"))
    nodes = trainjob.Nodes(nodes=2, gpus=4, processes=4, image=IMAGE)
    asked = request(run, promote=True, images=UNPUSHED)
    return {
        "parameters of a run": json.dumps([asked.root, asked.data]),
        "arguments of a TrainJob": json.dumps(trainjob.manifest(run, nodes, "")),
        "arguments of torchrun": json.dumps(
            processes.worker_arguments(run, address(run.root), address(run.data_root), "")
        ),
        "artifact of a stage": (folder / "stage").read_text(),
        "artifact of the data": (folder / "data").read_text(),
        "facts for MLflow": json.dumps(_facts(run, "train", run.root / "metrics.jsonl", "")["data"]),
    }


def test_nothing_that_leaves_names_the_mirror(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MMGEN_CLUSTER_ROOT", "MMGEN_CLUSTER_DATA"):
        monkeypatch.delenv(name, raising=False)
    told = leaving(run, tmp_path)

    assert not [what for what, text in told.items() if "copies-here" in text]
    assert address(run.root) in told["parameters of a run"]
    assert address(run.data_root) in told["parameters of a run"]
    assert address(run.data_root) in told["arguments of a TrainJob"]
    pointer = json.loads(told["artifact of a stage"])
    assert pointer["address"] == f"{address(run.root)}/stages/train/{run.keys.stages['train']}"
    assert json.loads(told["artifact of the data"])["address"] == f"{address(run.data_root)}/emoji"


def test_a_folder_inside_a_mirror_has_no_address(run: Run) -> None:
    with pytest.raises(ValueError, match="inside a mirror"):
        address(run.data_folder)


def test_a_folder_is_told_by_its_path_with_its_links(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "volume")

    assert address(tmp_path / "runs") == str(tmp_path / "runs")


@pytest.fixture
def other(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same run in another pod."""
    monkeypatch.setenv("MMGEN_CACHE", str(tmp_path / "other"))
    return dataclasses.replace(run, root=open_root(address(run.root)))


def test_what_another_pod_has_sealed_is_found(run: Run, other: Run) -> None:
    assert find_output(run, "train") is None
    key = run.keys.stages["train"]

    run_stage("train", key, other.root, lambda out: write_bytes(out / "weights", b"w"), facts={})

    found = find_output(run, "train")
    assert found == run.folder("train")
    assert (found / "weights").read_bytes() == b"w"


def test_attempts_of_other_pods_count(run: Run, other: Run) -> None:
    for each in (run, other):
        ledger.ledger_of(each, "train").parent.mkdir(parents=True)

    with pytest.raises(ValueError, match="made to fail"), attempts.attempt(other, "train"):
        raise ValueError("made to fail")
    with attempts.attempt(run, "train"):
        pass

    rows = ledger.attempts(ledger.ledger_of(run, "train"))
    assert [row["outcome"] for row in rows] == ["bug", "ok"]
    assert rows[0]["error"] == "a bug of mmgen, ValueError: made to fail"


def test_a_watcher_is_told_why_the_training_of_other_pods_ended(run: Run, other: Run) -> None:
    from mmgen.errors import DataError

    ledger.ledger_of(other, "train").parent.mkdir(parents=True)
    with pytest.raises(DataError), attempts.attempt(other, "train"):
        raise DataError("shard 'train-00001.tar' is cut; fetch it again")

    error = trainjob._reason(run, "TrainJob mmgen-x: Complete (JobsDone); its training is not sealed")

    assert isinstance(error, DataError)
    assert str(error) == "shard 'train-00001.tar' is cut; fetch it again"
