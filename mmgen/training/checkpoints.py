"""Checkpoints: sealed folders `step-000500` that a killed run goes on from.

Only sealed and verified ones count. The newest two are kept, so that there is always a whole one while the next is
being written; a folder that a kill left half-written is swept.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from mmgen.errors import StorageError
from mmgen.files import is_sealed, open_sealed, read_json, seal, write_json
from mmgen.weights import load_tensors, save_tensors

KEEP = 2


def save(folder: Path, step: int, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write checkpoint `step` below `folder`, seal it, and remove those before the last two."""
    target = folder / f"step-{step:06d}"
    if target.exists():  # a kill came between its files and its seal
        shutil.rmtree(target)
    target.mkdir(parents=True)
    save_tensors(target / "tensors.safetensors", tensors)
    write_json(target / "state.json", {"step": step, **facts})
    seal(target)
    for old in _sealed(folder)[:-KEEP]:
        shutil.rmtree(old)


def newest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and facts of the newest checkpoint that verifies; None when there is none."""
    for path in reversed(_sealed(folder)):
        try:
            open_sealed(path)
        except StorageError:
            shutil.rmtree(path)  # altered after sealing: the one before it is still good
            continue
        return load_tensors(path / "tensors.safetensors"), read_json(path / "state.json")
    return None


def _sealed(folder: Path) -> list[Path]:
    """Sealed checkpoints, the oldest first."""
    return sorted(path for path in folder.glob("step-*") if is_sealed(path))
