"""Checkpoints: sealed folders `step-000500` that a killed run goes on from, here or on another machine.

    tensors.safetensors    weights, their averages, the optimiser's moments
    state.json             step, seconds, what `Health` remembers
    metrics.jsonl          the rows written so far
    samples/               the grids drawn so far
    SEAL.json              written last

Only sealed and verified ones count. The newest two are kept, so that there is always a whole one while the next is
being written; what a kill left half-written is swept when the run goes on.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from mmgen.errors import StorageError
from mmgen.files import is_sealed, open_sealed, read_json, refusal, seal, write_json
from mmgen.weights import load_tensors, save_tensors

KEEP = 2

BESIDE = ("metrics.jsonl", "samples")
"""What a run writes beside its checkpoints. Each checkpoint has a copy, and a resumed run starts from that copy: rows
and grids of steps that were lost are written again, none twice."""

SHARE = 0.01
"""A checkpoint is due after this share of the run ..."""
COST = 0.02
"""... as long as saving takes no larger share of the time than this."""


class Pace:
    """When the next checkpoint is due: after 1 % of the run where that is cheap, and always after `seconds`.

    Args:
        done: steps done when the run starts or goes on.
        steps: of the whole run.
        seconds: longest work that a kill may lose.
    """

    def __init__(self, done: int, steps: int, seconds: float) -> None:
        self._share, self._seconds = SHARE * steps, seconds
        self.saved(done, 0.0)

    def saved(self, done: int, cost: float) -> None:
        """A checkpoint was written at step `done`, which took `cost` seconds."""
        self._done, self._cost, self._at = done, cost, time.monotonic()

    def due(self, done: int) -> bool:
        """Whether to save after step `done`."""
        gone = time.monotonic() - self._at
        return gone > self._seconds or (done - self._done >= self._share and gone >= self._cost / COST)


def save(folder: Path, step: int, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write checkpoint `step` below `folder`, seal it, and remove those before the last two.

    Raises:
        StorageError: the disk refuses; the checkpoints before are as they were.
    """
    target = folder / f"step-{step:06d}"
    if target.exists():  # a kill came between its files and its seal
        shutil.rmtree(target)
    try:
        target.mkdir(parents=True)
        save_tensors(target / "tensors.safetensors", tensors)
        write_json(target / "state.json", {"step": step, **facts})
        _copy(folder, target)
        seal(target)
    except (OSError, StorageError) as error:
        shutil.rmtree(target, ignore_errors=True)  # half a checkpoint only takes the room that is missing
        if isinstance(error, OSError):
            raise StorageError(refusal(target, error)) from error
        raise
    for old in _sealed(folder)[:-KEEP]:
        shutil.rmtree(old)


def newest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and facts of the newest checkpoint that verifies; None when there is none."""
    for path in reversed(_sealed(folder)):
        try:
            open_sealed(path)
        except StorageError as error:
            print(f"mmgen: warning: {error}; going on from the checkpoint before it", file=sys.stderr)
            continue
        return load_tensors(path / "tensors.safetensors"), read_json(path / "state.json")
    return None


def resume(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """As `newest`; `folder` is then as it was when that checkpoint was saved, whatever was written since is gone."""
    folder.mkdir(parents=True, exist_ok=True)
    found = newest(folder)
    step = found[1]["step"] if found else 0
    for path in folder.iterdir():
        dead = path.name in BESIDE or path.suffix == ".part"
        if dead or (path.name.startswith("step-") and (not is_sealed(path) or int(path.name[5:]) > step)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if found:
        _copy(folder / f"step-{step:06d}", folder)
    return found


def _copy(source: Path, target: Path) -> None:
    for name in BESIDE:
        inside = [source / name] if (source / name).is_file() else sorted((source / name).glob("*"))
        for path in inside:
            copied = target / path.relative_to(source)
            copied.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, copied)


def _sealed(folder: Path) -> list[Path]:
    """Sealed checkpoints, the oldest first."""
    return sorted(path for path in folder.glob("step-*") if is_sealed(path))
