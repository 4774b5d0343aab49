"""Training: same seed, same bytes; a kill costs time and nothing else."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmgen.data.order import Order, generator
from mmgen.errors import TrainingError
from mmgen.files import sha256_file
from mmgen.progress import Progress
from mmgen.recipes import get
from mmgen.training import checkpoints
from mmgen.training.config import TrainingConfig
from mmgen.training.loop import learn, learning_rate
from mmgen.training.train import train

STEPS = 12
CHILD = """
import os, signal, sys
from pathlib import Path
from mmgen.progress import Progress
from mmgen.recipes import get
from mmgen.training.train import train

class Killer(Progress):
    def update(self, done, **figures):
        if done == int(sys.argv[3]):
            os.kill(os.getpid(), getattr(signal, sys.argv[4]))

small = ["model.image_px=16", "model.components=16", "model.image_tokens=4", "model.width=16", "model.head_width=32",
         "model.memory_rows=64", "model.image_batch=8", "model.text_batch=4", "training.steps=12", "training.threads=1",
         "training.sample_every=6", "training.checkpoint_seconds=0", f"seed={sys.argv[5]}"]
out, work = Path(sys.argv[2]) / "out", Path(sys.argv[2]) / "work"
for folder in (out, work):
    folder.mkdir(parents=True, exist_ok=True)
train(Path(sys.argv[1]), get("emoji", small), out, work, Killer())
"""


def run(data: Path, folder: Path, stop_at: int = 0, how: str = "SIGKILL", seed: int = 0) -> int:
    command = [sys.executable, "-c", CHILD, str(data), str(folder), str(stop_at), how, str(seed)]
    return subprocess.run(command, check=False, capture_output=True).returncode


@pytest.fixture(scope="module")
def whole(tiny_emoji: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(tiny_emoji, folder) == 0
    return folder


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_a_run_that_was_stopped_and_started_again_ends_in_the_same_bytes(
    tiny_emoji: Path, whole: Path, tmp_path: Path, how: str
) -> None:
    assert run(tiny_emoji, tmp_path, stop_at=7, how=how) != 0
    assert not (tmp_path / "out" / "model").exists()

    assert run(tiny_emoji, tmp_path) == 0

    for name in ("model/weights.safetensors", "model/config.json", "samples/step-000012.png"):
        assert sha256_file(tmp_path / "out" / name) == sha256_file(whole / "out" / name), name
    steps = [json.loads(line)["step"] for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


def test_two_runs_with_one_seed_give_the_same_bytes_and_another_seed_others(
    tiny_emoji: Path, whole: Path, tmp_path: Path
) -> None:
    assert run(tiny_emoji, tmp_path / "same") == 0
    assert run(tiny_emoji, tmp_path / "other", seed=1) == 0

    first, same, other = (
        sha256_file(folder / "out" / "model" / "weights.safetensors")
        for folder in (whole, tmp_path / "same", tmp_path / "other")
    )
    assert first == same
    assert first != other


class Line(torch.nn.Module):
    """y = w x; its loss becomes NaN at a given step."""

    def __init__(self, bad_step: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.bad_step = bad_step

    def objectives(self, batch: int) -> dict[str, Callable[[torch.Generator], torch.Tensor]]:
        return {"fit": lambda _: self.weight.square().sum() * (float("nan") if batch == self.bad_step else 1.0)}


class Steps:
    """The batch of a step is its number."""

    def at(self, step: int) -> int:
        return step


def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_the_way_back(tmp_path: Path) -> None:
    model = Line(bad_step=5)
    config = TrainingConfig(steps=10, checkpoint_seconds=0.0)

    with pytest.raises(TrainingError, match=r"not finite at step 5 \(seed 0\).*last good checkpoint: step 5"):
        learn(model, Steps(), config, 0, tmp_path, Progress(), lambda step: None)

    assert torch.isfinite(model.weight).all()


def test_an_altered_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        checkpoints.save(tmp_path, step, {"x": torch.tensor([float(step)])}, {"seconds": 0.0})
    kept = sorted(path.name for path in tmp_path.iterdir())
    broken = tmp_path / "step-000003" / "tensors.safetensors"
    broken.write_bytes(broken.read_bytes()[:-1] + b"\xff")

    found = checkpoints.newest(tmp_path)

    assert kept == ["step-000002", "step-000003"]
    assert found is not None
    assert found[1]["step"] == 2


def test_a_step_has_the_same_samples_whenever_it_is_asked_for() -> None:
    weights = torch.rand(50, generator=generator(0))
    order = Order(weights, 16, 0, "draw")

    forwards = [order.at(step) for step in range(12)]
    backwards = [Order(weights, 16, 0, "draw").at(step) for step in reversed(range(12))]

    assert all(torch.equal(a, b) for a, b in zip(forwards, reversed(backwards), strict=True))


def test_samples_come_as_often_as_their_weights_ask() -> None:
    weights = torch.tensor([1.0, 2.0, 5.0, 0.5])
    order = Order(weights, 4, 0, "draw")

    counts = torch.bincount(torch.cat([order.at(step) for step in range(500)]), minlength=4)

    torch.testing.assert_close(counts / counts.sum(), weights / weights.sum(), atol=0.01, rtol=0)


def test_the_rate_warms_up_stays_and_falls_to_its_last_share() -> None:
    config = TrainingConfig(steps=1000, lr=0.01, warmup=100, flat=0.5, final_lr=0.02)

    rates = [learning_rate(config, step) for step in range(1000)]

    assert rates[0] == pytest.approx(0.0001)
    assert rates[100] == rates[400] == pytest.approx(0.01)
    assert rates[999] == pytest.approx(0.0002)


class Counting(torch.nn.Module):
    """Two losses of a weight each, which note how many threads compute them and in which."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.ones(2))
        self.seen: list[tuple[int, bool]] = []

    def loss(self, place: int) -> torch.Tensor:
        self.seen.append((torch.get_num_threads(), threading.current_thread() is threading.main_thread()))
        return self.weights[place].square()

    def objectives(self, batch: int) -> dict[str, Callable[[torch.Generator], torch.Tensor]]:
        return {"first": lambda _: self.loss(0), "second": lambda _: self.loss(1)}


@pytest.mark.parametrize(("at_once", "seen"), [(True, (1, False)), (False, (2, True))])
def test_objectives_share_the_threads_or_have_all_of_them_in_turn(
    tmp_path: Path, at_once: bool, seen: tuple[int, bool]
) -> None:
    model, before = Counting(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        config = TrainingConfig(steps=3, threads=2)
        learn(model, Steps(), config, 0, tmp_path, Progress(), lambda step: None, at_once=at_once)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)

    assert model.seen == [seen] * 6
    assert (model.weights < 1).all()


def test_a_model_that_diverges_is_told_how_to_train_it(
    tiny_emoji: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_arguments: object) -> float:
        raise TrainingError("loss diverged at step 5")

    monkeypatch.setattr("mmgen.training.train.learn", lost)
    small = ["model.image_px=16", "model.components=16", "model.image_tokens=4", "training.lr=0.004"]

    with pytest.raises(TrainingError, match=r"recipe emoji: loss diverged .*; lower .* --set training\.lr=0\.002$"):
        train(tiny_emoji, get("emoji", small), tmp_path, tmp_path, Progress())


def test_signals_are_handed_back_after_training(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)

    learn(Line(bad_step=-1), Steps(), TrainingConfig(steps=3), 0, tmp_path, Progress(), lambda step: None)

    assert signal.getsignal(signal.SIGTERM) == before
