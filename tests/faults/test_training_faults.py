"""Faults 10 to 13: numbers that go wrong, runs that go on elsewhere, memory that is short, work that hangs."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from mmgen.errors import ConfigError, OutOfMemoryError, TrainingError
from mmgen.files import SEAL
from mmgen.models.base import WHOLE, Player
from mmgen.progress import Progress
from mmgen.training import checkpoints
from mmgen.training.config import TrainingConfig
from mmgen.training.gradients import SideBySide
from mmgen.training.health import WINDOW
from mmgen.training.loop import learn
from mmgen.training.microbatches import divided, out_of_memory, parts_of
from tests.support.trainer import Net, made, train_small

REPOSITORY = Path(__file__).resolve().parents[2]


class Bent(torch.nn.Module):
    """The square of its weight, times whatever `factor` says of a step."""

    def __init__(self, factor: Callable[[int], float], game: bool = False) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.factor, self.game = factor, game

    def objectives(self, step: int) -> dict[str, Callable[[torch.Generator], torch.Tensor]]:
        def loss(_: torch.Generator) -> torch.Tensor:
            return self.weight.square().sum() * self.factor(step)

        return {"fit": Player(loss, self) if self.game else loss}


class Gradient(torch.autograd.Function):
    """A finite value with a gradient that is not."""

    @staticmethod
    def forward(context: object, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(context: object, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * math.inf


class Slippery(Bent):
    def objectives(self, step: int) -> dict[str, Callable[[torch.Generator], torch.Tensor]]:
        found = super().objectives(step)
        return {"fit": lambda rng: Gradient.apply(found["fit"](rng)) if step == 5 else found["fit"](rng)}


class Steps:
    def at(self, step: int) -> int:
        return step


def run(model: torch.nn.Module, folder: Path, steps: int = 10) -> None:
    config = TrainingConfig(steps=steps, threads=1, checkpoint_seconds=0.0, lr=1e-6)
    learn(model, Steps(), config, 3, folder, Progress(), lambda step: None)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (Bent(lambda step: math.nan if step == 5 else 1.0), "fit nan"),
        (Bent(lambda step: math.inf if step == 5 else 1.0), "fit inf"),
        (Slippery(lambda step: 1.0), "gradient (inf|nan)"),
    ],
    ids=["nan", "inf", "gradient"],
)
def test_numbers_that_are_not_finite_stop_the_run_before_the_step(
    tmp_path: Path, model: torch.nn.Module, named: str
) -> None:
    with pytest.raises(TrainingError, match=rf"at step 5 \(seed 3\): .*{named}.*last good checkpoint: step 5"):
        run(model, tmp_path)

    found = checkpoints.newest(tmp_path)
    assert found is not None
    assert all(torch.isfinite(value).all() for value in found[0].values())
    assert torch.isfinite(model.weight).all()
    rows = (tmp_path / "metrics.jsonl").read_text()
    assert "NaN" not in rows
    assert "Infinity" not in rows


def test_a_loss_that_has_left_for_good_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=rf"loss diverged at step {29 + WINDOW} .*last good checkpoint: step"):
        run(Bent(lambda step: 20.0 if step >= 30 else 1.0), tmp_path, 80)


@pytest.mark.parametrize(
    "model",
    [
        Bent(lambda step: 500.0 if step % WINDOW == 1 and step > WINDOW else 1.0),
        Bent(lambda step: 9.0 if step >= 30 else 1.0),
        Bent(lambda step: 50.0 if step >= 30 else 1.0, game=True),
        Bent(lambda step: -1.0),
    ],
    ids=["single peaks", "worse but not lost", "a game", "below zero"],
)
def test_losses_that_only_look_bad_do_not(tmp_path: Path, model: torch.nn.Module) -> None:
    run(model, tmp_path, 80)


def test_divergence_is_seen_across_a_kill_too(tmp_path: Path) -> None:
    class Stop(Progress):
        def update(self, done: int, **figures: float) -> None:
            if done == 40:
                raise RuntimeError("killed")

    model = Bent(lambda step: 20.0 if step >= 30 else 1.0)
    config = TrainingConfig(steps=80, threads=1, checkpoint_seconds=0.0, lr=1e-6)
    with pytest.raises(RuntimeError, match="killed"):
        learn(model, Steps(), config, 3, tmp_path, Stop(), lambda step: None)

    with pytest.raises(TrainingError, match=f"at step {29 + WINDOW} "):
        run(model, tmp_path, 80)


def test_a_run_goes_on_from_a_checkpoint_alone_as_on_another_machine(tmp_path: Path) -> None:
    class Stop(Progress):
        def update(self, done: int, **figures: float) -> None:
            if done == 25:
                raise RuntimeError("the node is gone")

    train_small(tmp_path / "whole", 30)
    with pytest.raises(RuntimeError, match="the node is gone"):
        train_small(tmp_path / "first", 30, Stop())
    newest = sorted((tmp_path / "first").glob(f"step-*/{SEAL}"))[-1].parent
    shutil.copytree(newest, tmp_path / "second" / newest.name)

    train_small(tmp_path / "second", 30)

    assert made(tmp_path / "second") == made(tmp_path / "whole")


def test_a_checkpoint_comes_every_hundredth_of_the_run_while_that_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now)
    pace = checkpoints.Pace(0, 1000, 30.0)
    saved = []
    for step in range(1, 1001):
        now += 0.1  # a step takes 0.1 s, a checkpoint 0.05 s: 2 % is one every 2.5 s
        if pace.due(step):
            saved.append(step)
            now += 0.05
            pace.saved(step, 0.05)

    gaps = [after - before for before, after in itertools.pairwise(saved)]
    assert saved[0] == 10
    assert set(gaps) <= {25, 26}
    with pytest.raises(ConfigError, match="from 0 to 120"):
        TrainingConfig(checkpoint_seconds=121)


def test_parts_of_a_batch_have_together_its_gradient_even_if_they_differ_in_size() -> None:
    rows = torch.randint(6, (7,), generator=torch.Generator().manual_seed(1))
    found = []
    for parts in (1, 2, 3):
        model = Net()
        model._loss = lambda rows, rng, model=model: (model.out(model.table(rows)) - rows[:, None]).square().mean()
        learned = list(model.parameters())
        with SideBySide(learned, 1) as gradients:
            losses = gradients.take(parts_of(model, {"rows": rows}, WHOLE, parts), 0, 0)
        found.append([losses["one"], losses["two"], *(parameter.grad for parameter in learned)])

    for halved in found[1:]:
        torch.testing.assert_close(halved, found[0])


@dataclass(frozen=True)
class Spoken:
    sound: torch.Tensor
    texts: list[str]


def test_a_batch_that_cannot_be_halved_is_refused_by_what_is_in_it() -> None:
    for batch, reason in (
        (Spoken(torch.zeros(4, 2), ["a"] * 4), "a list in it"),
        ({"x": torch.zeros(1, 2)}, "batch of 1 cannot be taken in 2 parts"),
        ([torch.zeros(4)], "type list"),
    ):
        with pytest.raises(ConfigError, match=reason):
            divided(batch, 2)
        assert divided(batch, 1) == [batch]


def test_memory_errors_of_python_torch_and_cuda_are_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)

    assert out_of_memory(caught.value)
    assert out_of_memory(MemoryError())
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not out_of_memory(RuntimeError("shapes differ"))


def test_memory_that_runs_out_while_training_says_what_to_lower(
    tiny_emoji: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmgen.recipes import get
    from mmgen.training import train as training

    def short(*_: object) -> float:
        raise MemoryError  # a machine that is too small cannot be had here

    monkeypatch.setattr(training, "learn", short)
    small = [f"model.{name}=16" for name in ("image_px", "components", "width", "head_width", "memory_rows")]
    recipe = get("emoji", [*small, "model.image_tokens=4"])

    with pytest.raises(OutOfMemoryError, match=r"takes them in 4 parts, or lower it with --set model\.image_batch=32"):
        training.train(tiny_emoji, recipe, tmp_path, tmp_path, Progress(), parts=2)


HANGS = """
import os, sys
from pathlib import Path
from mmgen.ops.runs import attempts, ledger
from mmgen.ops.runs.watchdog import watched
from mmgen.progress import Progress
from tests.support.runs import small_run

def item_that_never_comes(path):
    return open(path).read()  # a pipe that nobody writes to

run = small_run(Path(sys.argv[1]))
written = ledger.ledger_of(run, "train")
written.parent.mkdir(parents=True)
os.mkfifo(sys.argv[1] + "/pipe")
with (
    watched(Progress(), 3.0, lambda: ledger.end_open(run, "train", "stalled")) as progress,
    attempts.attempt(run, "train"),
):
    for step in range(20):
        progress.update(step)
    item_that_never_comes(sys.argv[1] + "/pipe")
"""


def test_work_that_hangs_is_ended_with_its_stack(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HANGS, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY, timeout=600)

    assert done.returncode == 40
    assert "no progress for 3.0s" in done.stderr
    assert "in item_that_never_comes" in done.stderr
    rows = [json.loads(line) for line in next((tmp_path / "stages" / "train").iterdir()).read_text().splitlines()]
    assert rows[-1]["outcome"] == "stalled"
    assert os.path.exists(tmp_path / "pipe")  # noqa: PTH110  # opening it would hang this test as well
