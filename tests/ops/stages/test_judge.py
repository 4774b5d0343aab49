"""The judge stage: a judge that was killed goes on, here or on another machine; its curve is in MLflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmgen.files import sha256_file
from mmgen.ops.runs.ledger import attempts, ledger_of
from mmgen.ops.runs.run import Run, open_run
from mmgen.ops.stages.judge import judge
from mmgen.ops.storage import checkpoints
from mmgen.ops.storage.objects import ObjectStore
from mmgen.ops.storage.roots import open_root
from mmgen.ops.tracking.client import connected, tracking_uri
from mmgen.progress import Progress
from tests.support import s3 as laboratory
from tests.support.s3 import BUCKET, Proxy

s3_server, s3 = laboratory.s3_server, laboratory.s3

STEPS, STOP = 24, 15
SETTINGS = [
    f"judge.steps={STEPS}",
    "judge.batch=8",
    "judge.width=4",
    "judge.features=8",
    "judge.probes=10",
    "training.threads=1",
    "training.checkpoint_seconds=0",
]


class Watched(Progress):
    """Notes the steps, and may end the work between a step and its checkpoint."""

    def __init__(self, stop_at: int = 0) -> None:
        self.steps: list[int] = []
        self._stop_at = stop_at

    def update(self, done: int, **figures: float) -> None:
        if done == self._stop_at:
            raise KeyboardInterrupt
        self.steps.append(done)


def run_at(root: Path, data: Path) -> Run:
    return open_run("emoji", SETTINGS, root, data.parent)


def weights(run: Run) -> str:
    return sha256_file(run.sealed("judge") / "judge.safetensors")


def test_a_judge_that_was_stopped_goes_on_and_its_curve_is_in_mlflow(root: Path, tiny_emoji: Path) -> None:
    run = run_at(root, tiny_emoji)
    with pytest.raises(KeyboardInterrupt):
        judge(run, Watched(STOP))

    seen = Watched()
    assert judge(run, seen).state == "ran"

    assert seen.steps == list(range(STOP, STEPS + 1))
    assert [row["outcome"] for row in attempts(ledger_of(run, "judge"))] == ["interrupted", "ok"]
    with connected(tracking_uri(root)) as client:
        found = client.search_runs([each.experiment_id for each in client.search_experiments()])
        curves = [client.get_metric_history(each.info.run_id, "loss_judge") for each in found]
    assert [point.step for curve in curves for point in curve] == [20, STEPS]


def test_a_judge_goes_on_on_another_machine(
    s3: Proxy, root: Path, tiny_emoji: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"s3://{BUCKET}/judge-stage"
    monkeypatch.setattr(checkpoints, "POLL_SECONDS", 0.05)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(root))
    runs = []
    for name in ("one", "two"):
        monkeypatch.setenv("MMGEN_CACHE", str(tmp_path / name))
        runs.append(run_at(open_root(address), tiny_emoji))
    with pytest.raises(KeyboardInterrupt):
        judge(runs[0], Watched(STOP))

    seen = Watched()
    judge(runs[1], seen)

    assert seen.steps == list(range(STOP, STEPS + 1))
    assert list(ObjectStore.at(address).keys("checkpoints")) == []
    assert judge(runs[0], Progress()).state == "cached"
    assert weights(runs[0]) == weights(runs[1])
