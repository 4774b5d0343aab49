"""A small training in forked children of a process that imported torch once, so that a kill costs milliseconds.

Tests run it in a process of its own, since pytest has threads and could not be forked, and read what it prints:

    python -m tests.support.trainer kill FOLDER 1       kill it at every use of the disk, from the first on
    python -m tests.support.trainer full FOLDER 1       let every use of the disk fail in turn
    python -m tests.support.trainer random FOLDER 5     kill it five times at random moments
    python -m tests.support.trainer recipe FOLDER 200   the same with a real recipe
    python -m tests.support.trainer stop FOLDER 2       send it SIGTERM twice after its third step
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch  # noqa: F401  # once and not in every fork
import torch
from torch import Tensor, nn

from mmgen.data.order import generator
from mmgen.files import SEAL, open_sealed, sha256_file, write_bytes
from mmgen.models.base import Loss
from mmgen.progress import Progress
from mmgen.training import checkpoints
from mmgen.training.config import TrainingConfig
from mmgen.training.loop import learn
from mmgen.weights import save_tensors

STEPS = 3
POINTS: tuple[tuple[Any, str], ...] = (
    (checkpoints, "save_tensors"),
    (checkpoints, "write_json"),
    (checkpoints, "seal"),
    (shutil, "copyfile"),
    (shutil, "rmtree"),
    (Path, "replace"),
    (os, "fsync"),
)
"""Where a run touches the disk."""


class Net(nn.Module):
    """Two objectives, a lookup table, randomness in the loss: all that a checkpoint must bring back."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(6, 4), nn.Linear(4, 1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(generator=generator(0, "first", *parameter.shape))

    def objectives(self, batch: dict[str, Tensor]) -> dict[str, Loss]:
        return {
            "one": lambda rng: self._loss(batch["rows"], rng),
            "two": lambda rng: self._loss(batch["rows"] // 2, rng),
        }

    def _loss(self, rows: Tensor, rng: torch.Generator) -> Tensor:
        noise = 0.1 * torch.randn(len(rows), 4, generator=rng)
        return (self.out(self.table(rows) + noise) - rows[:, None]).square().mean()


class Rows:
    """Batches of row numbers."""

    def at(self, step: int) -> dict[str, Tensor]:
        return {"rows": torch.randint(6, (8,), generator=generator(0, "rows", step))}


def train_small(folder: Path, steps: int = STEPS, progress: Progress | None = None, parts: int = 1) -> None:
    """Train `Net` with a checkpoint after every step; leaves `weights.safetensors`."""
    model = Net()
    config = TrainingConfig(steps=steps, threads=1, sample_every=2, checkpoint_seconds=0.0)

    def show(step: int) -> None:
        write_bytes(folder / "samples" / f"step-{step:06d}.png", model.out.weight.detach().numpy().tobytes())

    learn(model, Rows(), config, 0, folder, progress or Progress(), show, parts)
    save_tensors(folder / "weights.safetensors", model.state_dict())


def made(folder: Path) -> dict[str, Any]:
    """What must be the same however often the run was killed; seconds are not."""
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    files = [folder / "weights.safetensors", *sorted((folder / "samples").iterdir())]
    return {
        "rows": [{name: value for name, value in row.items() if name != "seconds"} for row in rows],
        **{path.name: sha256_file(path) for path in files},
    }


def child(work: Callable[[], object]) -> int:
    """Run `work` in a fork; returns its exit code, or the signal that ended it as a negative number."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fail_at(call: int, fail: Callable[[], None]) -> None:
    """Make the `call`-th use of any of `POINTS` fail, in this process; where that was goes to stdout."""
    used = 0

    def faulty(name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def use(*given: Any, **named: Any) -> Any:
            nonlocal used
            used += 1
            if used == call:
                os.write(1, f"{name}\n".encode())
                fail()
            return inner(*given, **named)

        return use

    for owner, name in POINTS:
        setattr(owner, name, faulty(name, getattr(owner, name)))


def kill() -> None:
    """As the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def full() -> None:
    """A disk without room."""
    raise OSError(28, os.strerror(28), "checkpoint")


def between(root: Path, fail: Callable[[], None], first: int) -> None:
    """Fail at one use of the disk after the other, beginning with the `first`.

    After each the run is taken up and must end in the same bytes.
    """
    assert child(lambda: train_small(root / "whole")) == 0
    expected = made(root / "whole")
    for call in range(first, 1000):
        folder = root / f"call-{call}"

        def attempt(call: int = call, folder: Path = folder) -> None:
            fail_at(call, fail)
            train_small(folder)

        if (code := child(attempt)) == 0:
            break
        assert code == (-signal.SIGKILL if fail is kill else 1), code
        sealed = [path for path in folder.glob("step-*") if (path / SEAL).is_file()]
        for path in sealed:
            open_sealed(path)
        if fail is full:
            assert all(path in sealed for path in folder.glob("step-*")), "half a checkpoint was left"
        assert child(lambda folder=folder: train_small(folder)) == 0
        assert made(folder) == expected, folder
        assert not [path for path in folder.rglob("*") if path.suffix == ".part"], "a half-written file was left"
        assert len(list(folder.glob("step-*"))) <= checkpoints.KEEP + 1  # killed as it removed the oldest
        shutil.rmtree(folder)
    print(f"calls {call - first}")


def random_kills(train: Callable[[Path], None], root: Path, kills: int, longest: float) -> None:
    """Kill a run again and again, each time a random moment after it went on, then let it end.

    One that ends before it was killed so often has to be right too, and another takes its place.
    """
    rng = random.Random(0)
    assert child(lambda: train(root / "whole")) == 0
    folder, done, runs = root / "killed", 0, 1
    while done < kills:
        if (pid := os.fork()) == 0:
            with contextlib.redirect_stderr(None):
                train(folder)
            os._exit(0)
        time.sleep(rng.uniform(0.02, longest))
        os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        done += code == -signal.SIGKILL
        if code == 0:
            assert made(folder) == made(root / "whole")
            shutil.rmtree(folder)
            runs += 1
    assert child(lambda: train(folder)) == 0
    assert made(folder) == made(root / "whole")
    print(f"kills {done} runs {runs}")


def train_emoji(folder: Path) -> None:
    """The default recipe, tiny, as the stage does it; the data set lies beside the folder's parent."""
    from mmgen.recipes import get
    from mmgen.training.train import train

    small = [
        f"model.{name}" for name in ("image_px=16", "components=16", "image_tokens=4", "width=16", "memory_rows=64")
    ]
    small += ["model.head_width=32", "model.image_batch=8", "model.text_batch=4", "training.threads=1"]
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    for each in (out, folder / "work"):
        each.mkdir(parents=True, exist_ok=True)
    recipe = get("emoji", [*small, "training.steps=20000", "training.sample_every=5000"])
    train(Path(os.environ["TINY_EMOJI"]), recipe, out, folder / "work", Progress())
    for name in ("metrics.jsonl", "samples", "weights.safetensors"):
        with contextlib.suppress(FileNotFoundError):
            (folder / name).unlink()
        (folder / name).symlink_to(out / ("model/" + name if name.startswith("weights") else name))


class Stopped(Progress):
    """Says each step on stdout; after the third one it sends SIGTERM to its own process, as often as it is told to."""

    def __init__(self, signals: int) -> None:
        self.signals = signals

    def update(self, done: int, **figures: float) -> None:
        os.write(1, f"step {done}\n".encode())
        if done == 3:
            for _ in range(self.signals):
                os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    torch.set_num_threads(1)
    # What torch imports at its first step, once and not in every fork.
    torch.optim.AdamW([nn.Parameter(torch.zeros(1))], fused=True).step()
    scenario, root, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if scenario == "random":
        random_kills(lambda folder: train_small(folder, 60), root, number, 0.15)
    elif scenario == "recipe":
        random_kills(train_emoji, root, number, 1.2)
    elif scenario == "stop":
        train_small(root, 60, Stopped(number))
    else:
        between(root, {"kill": kill, "full": full}[scenario], number)
