"""Batches in parts, for a machine whose memory is too small for a whole one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmgen.errors import ConfigError


def divided(batch: Any, parts: int) -> list[Any]:
    """`batch` as `parts` batches of every `parts`-th row each, so that rows sorted by length stay sorted and mixed.

    A batch is a dataclass or a mapping of tensors (rows first) and whole numbers, which all parts share.

    Raises:
        ConfigError: it holds something else, or a tensor has fewer rows than there are parts.
    """
    if parts == 1:
        return [batch]
    if isinstance(batch, Mapping):
        cut = [_rows(value, parts) for value in batch.values()]
        return [dict(zip(batch, values, strict=True)) for values in zip(*cut, strict=True)]
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        names = [field.name for field in dataclasses.fields(batch)]
        cut = [_rows(getattr(batch, name), parts) for name in names]
        return [
            dataclasses.replace(batch, **dict(zip(names, values, strict=True))) for values in zip(*cut, strict=True)
        ]
    raise ConfigError(f"a batch of type {type(batch).__name__} cannot be taken in parts")


def _rows(value: Any, parts: int) -> list[Any]:
    if isinstance(value, int):
        return [value] * parts
    if not isinstance(value, Tensor):
        raise ConfigError(f"a batch with a {type(value).__name__} in it cannot be taken in parts")
    if 0 < len(value) < parts:
        raise ConfigError(f"a batch of {len(value)} cannot be taken in {parts} parts")
    return [value[first::parts] for first in range(parts)]


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch has an error of its own for a GPU, and only a text for the machine."""
    return isinstance(error, MemoryError) or any(
        sign in f"{type(error).__name__}: {error}"
        for sign in ("OutOfMemoryError: ", "can't allocate memory", "not enough memory")
    )
