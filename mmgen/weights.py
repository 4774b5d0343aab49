"""Tensors in files: safetensors only, whole or absent, and a full disk is said in one line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmgen.errors import StorageError
from mmgen.files import refusal, whole_file

if TYPE_CHECKING:
    from torch import Tensor


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write named tensors.

    Raises:
        StorageError: the disk is full or the folder is not writable.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with whole_file(path) as scratch:
        try:
            save_file({name: value.contiguous() for name, value in tensors.items()}, scratch)
        except SafetensorError as error:  # the library wraps the system's error and drops its number
            raise StorageError(refusal(path, OSError(str(error)))) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors to the CPU.

    Raises:
        StorageError: missing, cut short, or not such a file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{str(path)!r} cannot be loaded: {' '.join(str(error).split())[:200]}") from error
    return found
