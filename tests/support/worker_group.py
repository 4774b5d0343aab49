"""Trainings by several processes, forked from one that imported torch once; tests start it and read what it leaves.

python -m tests.support.worker_group emoji DATA FOLDER     the default recipe, tiny, by one, two and three processes,
                                                           and by two of which the second is killed and which are then
                                                           run again
python -m tests.support.worker_group faults FOLDER         what goes wrong in the second of two processes only
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import safetensors.torch  # noqa: F401  # once and not in every fork
import torch
import torch.distributed
from torch import Tensor, nn

from mmgen.errors import MmgenError
from mmgen.progress import Progress
from mmgen.recipes import get
from mmgen.training import loop, train
from mmgen.training.config import TrainingConfig
from mmgen.training.workers import Workers, joined
from mmgen.weights import save_tensors
from tests.support.trainer import Net

STEPS = 12
SMALL = (
    "model.image_px=16", "model.components=16", "model.image_tokens=4", "model.width=16", "model.head_width=32",
    "model.memory_rows=64", "training.threads=1", f"training.steps={STEPS}", "training.sample_every=12",
    "training.checkpoint_seconds=0", "model.ode_steps=4", "model.draws=2", "model.image_batch=7", "model.text_batch=5",
)  # fmt: skip
"""Neither batch divides by two; the processes' shares differ in rows and in words."""


def group(size: int, work: Callable[[Workers], None]) -> list[int]:
    """Run `work` in `size` processes that torchrun's environment describes; returns their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(size):
        if (pid := os.fork()) == 0:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            os.environ |= {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
            os._exit(_code(work))
        children.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]


def _say(error: BaseException) -> None:
    """One line, in one write: another process may speak at the same moment."""
    os.write(1, json.dumps({"error": type(error).__name__, "text": str(error)}).encode() + b"\n")


def _code(work: Callable[[Workers], None]) -> int:
    try:
        with joined("cpu") as workers:
            work(workers)
    except MmgenError as error:
        _say(error)
        return error.exit_code
    except (KeyboardInterrupt, MemoryError) as error:
        _say(error)
        return 60
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


class Killer(Progress):
    """Ends the process at a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def update(self, done: int, **figures: float) -> None:
        if done == self._step:
            os.kill(os.getpid(), signal.SIGKILL)


def emoji(data: Path, folder: Path, size: int, *, kill: int = 0) -> list[int]:
    """Train the tiny recipe below `folder`; `kill` is the step at which the last process is killed."""
    recipe = get("emoji", [*SMALL, f"training.processes={size}"])

    def work(workers: Workers) -> None:
        own = folder if workers.leads else folder / f"other-{workers.rank}"
        for each in (own / "out", own / "work"):
            each.mkdir(parents=True, exist_ok=True)
        progress = Killer(kill if workers.rank == size - 1 else 0)
        train.train(data, recipe, own / "out", own / "work", progress, workers=workers)

    return group(size, work)


class Rows:
    """Seven rows a step."""

    def at(self, step: int) -> dict[str, Tensor]:
        return {"rows": torch.arange(step, step + 7) % 6}


class Faulty(Net):
    """Fails in a way of its own at step 5."""

    def __init__(self, fail: Callable[[], Tensor]) -> None:
        super().__init__()
        self._fail, self._calls = fail, itertools.count(1)  # threads take a number each, never the same

    def _loss(self, rows: Tensor, rng: torch.Generator) -> Tensor:
        call = next(self._calls)  # two objectives a step
        return super()._loss(rows, rng) * (self._fail() if call == 11 else 1.0)


def small(folder: Path, model: nn.Module, workers: Workers | None, parts: int = 1) -> None:
    """Train a net of two objectives that draw noise for their rows; families do so by default."""
    folder.mkdir(parents=True, exist_ok=True)
    config = TrainingConfig(steps=STEPS, threads=1, checkpoint_seconds=0.0, processes=workers.size if workers else 1)
    loop.learn(model, Rows(), config, 0, folder, Progress(), lambda step: None, parts, workers)
    if workers is None or workers.leads:
        save_tensors(folder / "weights.safetensors", dict(model.state_dict()))


def memory() -> Tensor:
    raise MemoryError


def stop() -> Tensor:
    os.kill(os.getpid(), signal.SIGTERM)
    return torch.ones(())


FAULTS: dict[str, Callable[[], Tensor]] = {"nan": lambda: torch.tensor(torch.nan), "memory": memory, "stop": stop}


def main(scenario: str, *paths: str) -> None:
    """Run a scenario and print the exit codes of its groups as one line of JSON."""
    loop.LOG_EVERY = 1
    torch.set_num_threads(1)
    # What torch imports at its first step, once and not in every fork.
    torch.optim.AdamW([nn.Parameter(torch.zeros(1))], fused=True).step()
    if scenario == "emoji":
        data, folder = map(Path, paths)
        codes = {str(size): emoji(data, folder / str(size), size) for size in (1, 2, 3)}
        codes["killed"] = emoji(data, folder / "killed", 2, kill=7)
        codes["again"] = emoji(data, folder / "killed", 2)
    else:
        (folder,) = map(Path, paths)
        small(folder / "parts", Net(), None, parts=2)
        codes = {"pair": group(2, lambda workers: small(folder / "pair" / str(workers.rank), Net(), workers))}
        for name, fail in FAULTS.items():

            def work(workers: Workers, name: str = name, fail: Callable[[], Tensor] = fail) -> None:
                model = Net() if workers.leads else Faulty(fail)
                small(folder / name / str(workers.rank), model, workers)

            codes[name] = group(2, work)
    print(json.dumps(codes))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(*sys.argv[1:])
