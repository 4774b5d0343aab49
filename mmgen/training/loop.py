"""The loop: batch, loss, step, average, log, save, stop.

Everything that a step draws at random comes from (seed, step), so the only state is weights, averages, optimiser
moments and the step number: a run that was killed and one that was not end in the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from mmgen.errors import TrainingError
from mmgen.models.base import Batches, Player
from mmgen.progress import Progress
from mmgen.training import checkpoints
from mmgen.training.config import TrainingConfig
from mmgen.training.gradients import SideBySide
from mmgen.training.health import Health
from mmgen.training.microbatches import moved, out_of_memory, parts_of
from mmgen.training.workers import Workers

LOG_EVERY = 20
"""Steps between rows of `metrics.jsonl`."""

_MOMENTS = {"count": "step", "first": "exp_avg", "second": "exp_avg_sq"}
"""What AdamW remembers of a parameter, by its short name in a checkpoint."""


def learn(
    model: Any,
    batches: Batches,
    config: TrainingConfig,
    seed: int,
    folder: Path,
    progress: Progress,
    show: Callable[[int], None],
    parts: int = 1,
    workers: Workers | None = None,
    *,
    stage: str = "train",
    at_once: bool = True,
) -> float:
    """Train `model` in place; it ends with its averaged weights, on the CPU.

    Args:
        model: see `mmgen.models`; any module with `objectives(batch)` will do.
        batches: batches by step.
        config: optimiser, schedule, checkpoints.
        seed: of the run.
        folder: holds `metrics.jsonl` and the checkpoints; a run goes on from what it finds there.
        progress: told of every step.
        show: called with the step every `sample_every` steps and at the end, with the averaged weights in place.
        parts: how many parts a batch is taken in; more need less memory.
        workers: the processes that train it together, each of which calls this with the same model; only the first
            one uses `folder`, `progress` and `show`. This one alone, if left out.
        stage: what `progress` calls the work.
        at_once: see `SideBySide`.

    Returns:
        Seconds spent in steps, over all attempts.

    Raises:
        ConfigError: the family's batches cannot be taken in parts.
        MemoryError: memory ran out, here or in another process.
        TrainingError: a loss is not finite, which no weight is touched by, or has diverged (`Health`).
        WorkersError: another process is gone.
        KeyboardInterrupt: stopped by SIGTERM or SIGINT, here or in another process, after a checkpoint was saved.
    """
    workers = workers or Workers()
    model.to(workers.device)
    groups = _groups(model, config)
    learned = [parameter for group in groups for parameter in group["params"]]
    betas = (config.beta1, config.beta2)
    optimiser = torch.optim.AdamW(groups, betas=betas, weight_decay=config.weight_decay, fused=True)
    average = [parameter.detach().clone() for parameter in learned]
    done, spent, kept = _resume(workers, folder, learned, average, optimiser)
    health = Health(kept)
    pace = checkpoints.Pace(done, config.steps, config.checkpoint_seconds)
    if done:
        progress.note(f"{stage} resumes from its checkpoint of step {done}")
    progress.start(stage, config.steps, "steps")
    started = time.monotonic() - spent
    with (
        _stop_asked() as stop,
        SideBySide(learned, config.threads, at_once=at_once) as gradients,
        (folder / "metrics.jsonl" if workers.leads else Path(os.devnull)).open("a", buffering=1) as log,
    ):
        for step in range(done, config.steps):
            rate = learning_rate(config, step)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["scale"]
            taken = parts_of(model, moved(batches.at(step), workers.device), workers.share, parts)
            objectives, short = taken[0].objectives, False
            try:
                losses = gradients.take(taken, seed, step)
            except (MemoryError, RuntimeError) as error:
                if workers.size == 1 or not out_of_memory(error):
                    raise
                # The others have to hear of it, or they would wait for this one.
                short, losses = True, {name: torch.zeros((), device=workers.device) for name in objectives}
                optimiser.zero_grad()
            losses, (stopping, short) = workers.summed(learned, losses, stop.is_set(), short)
            if short:
                raise MemoryError("in one of the processes")
            game = any(isinstance(objective, Player) for objective in objectives.values())
            loss = torch.stack(list(losses.values())).sum().item()
            norm = nn.utils.clip_grad_norm_(learned, config.clip, foreach=True).item()
            try:
                health.check(loss, losses, norm, f"at step {step} (seed {seed})", game=game)
            except TrainingError as error:
                raise TrainingError(_stopped(error, folder)) from error
            optimiser.step()
            # The average starts short and grows, so that the first weights do not linger in it.
            decay = min(config.ema, (step + 1) / (step + 10))
            torch._foreach_lerp_(average, [parameter.detach() for parameter in learned], 1 - decay)
            done, spent = step + 1, time.monotonic() - started
            progress.update(done, loss=loss)
            if done % LOG_EVERY == 0 or done == config.steps:
                row = {"step": done, "seconds": round(spent, 3), "loss": loss, "lr": rate, "norm": norm}
                row |= {f"loss_{name}": value.item() for name, value in losses.items()}
                log.write(json.dumps(row, allow_nan=False) + "\n")
            if workers.leads and (done % config.sample_every == 0 or done == config.steps):
                with _swapped(learned, average):
                    model.to("cpu")
                    show(done)
                    model.to(workers.device)
            if workers.leads and (stopping or pace.due(done)):
                began = time.monotonic()
                log.flush()
                facts = {"seconds": spent, "health": health.state()}
                _save(folder, done, facts, learned, average, optimiser)
                pace.saved(done, time.monotonic() - began)
            if stopping:
                raise KeyboardInterrupt(f"stopped at step {done}; run again to go on from there")
    for parameter, value in zip(learned, average, strict=True):
        parameter.data.copy_(value)
    model.to("cpu")
    progress.done()
    return spent


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Warm-up, flat, then linear to `final_lr`: a schedule by share of the steps, so that any length ends annealed."""
    share = step / config.steps
    falling = max(config.final_lr, min(1.0, (1 - share) / (1 - config.flat)))
    return config.lr * min(1.0, (step + 1) / config.warmup) * falling


def _groups(model: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """Optimiser groups: lookup tables, whose rows are visited rarely and may take larger steps, and the rest."""
    tables = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rest = [parameter for parameter in learned if not any(parameter is table for table in tables)]
    groups = [
        {"params": tables, "scale": config.table_lr, "lr": config.lr},
        {"params": rest, "scale": 1.0, "lr": config.lr},
    ]
    return [group for group in groups if group["params"]]


def _resume(
    workers: Workers,
    folder: Path,
    learned: list[nn.Parameter],
    average: list[Tensor],
    optimiser: torch.optim.Optimizer,
) -> tuple[int, float, dict[str, Any] | None]:
    """Load the newest checkpoint, if there is one; returns steps done, seconds spent and the state of `Health`."""
    found = workers.checkpoint(checkpoints.resume(folder) if workers.leads else None)
    if found is None:
        return 0, 0.0, None
    tensors, facts = found
    state = {}
    for number, (parameter, mean) in enumerate(zip(learned, average, strict=True)):
        parameter.data.copy_(tensors[f"weight.{number}"])
        mean.copy_(tensors[f"average.{number}"])
        if f"count.{number}" in tensors:
            state[number] = {name: tensors[f"{short}.{number}"] for short, name in _MOMENTS.items()}
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return int(facts["step"]), float(facts["seconds"]), facts["health"]


def _save(
    folder: Path,
    step: int,
    facts: dict[str, Any],
    learned: list[nn.Parameter],
    average: list[Tensor],
    optimiser: torch.optim.Optimizer,
) -> None:
    tensors = {}
    for number, (parameter, mean) in enumerate(zip(learned, average, strict=True)):
        tensors[f"weight.{number}"] = parameter.detach()
        tensors[f"average.{number}"] = mean
        # A part of the model that no objective has reached yet has no moments.
        for short, name in _MOMENTS.items() if parameter in optimiser.state else ():
            tensors[f"{short}.{number}"] = optimiser.state[parameter][name]
    checkpoints.save(folder, step, tensors, facts)


def _stopped(error: TrainingError, folder: Path) -> str:
    good = checkpoints.newest(folder)
    kept = f"step {good[1]['step']}" if good else "none yet"
    return f"{error}; last good checkpoint: {kept}"


@contextlib.contextmanager
def _swapped(learned: list[nn.Parameter], average: list[Tensor]) -> Iterator[None]:
    """The averaged weights in the model for a while."""
    kept = [parameter.detach().clone() for parameter in learned]
    for parameter, value in zip(learned, average, strict=True):
        parameter.data.copy_(value)
    yield
    for parameter, value in zip(learned, kept, strict=True):
        parameter.data.copy_(value)


@contextlib.contextmanager
def _stop_asked() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set, so that a stop falls between two steps. A second signal does not wait:
    the process ends at once, and the checkpoint before is the one to go on from."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield stop
        return

    def ask(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
