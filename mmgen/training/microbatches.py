"""Batches in parts, one after another for a machine whose memory is too small, or side by side in several processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmgen.errors import ConfigError
from mmgen.models.base import Loss, Share


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part of a step."""

    objectives: dict[str, Loss]
    weight: float = 1.0
    """What its losses and gradients are multiplied with before they are added to those of the other parts."""
    number: int = 0
    """Parts with the same number draw the same random numbers."""


def parts_of(model: Any, batch: Any, share: Share, parts: int) -> list[Part]:
    """The share of a batch that one process takes, in `parts` parts; all parts of all shares add up to the whole batch.

    A family with `exact_shares` draws the same for a row in whatever part it lies. Elsewhere each part draws for
    itself, so that the sum is that of the whole batch only on average; N processes then do what one does that takes
    its batches in N parts.

    Raises:
        ConfigError: the batch cannot be taken in so many parts.
    """
    shares = [Share(share.first + share.of * number, share.of * parts) for number in range(parts)]
    if share.of * parts == 1:
        return [Part(objectives=model.objectives(batch))]
    if getattr(model, "exact_shares", False):
        return [Part(objectives=model.objectives(batch, each)) for each in shares]
    cut = divided(batch, share.of * parts)
    return [
        Part(objectives=model.objectives(cut[each.first]), weight=_weight(batch, each), number=each.first)
        for each in shares
    ]


def divided(batch: Any, parts: int) -> list[Any]:
    """`batch` as `parts` batches of every `parts`-th row each, so that rows sorted by length stay sorted and mixed.

    A batch is a dataclass or a mapping of tensors (rows first) and whole numbers, which all parts share.

    Raises:
        ConfigError: it holds something else, or a tensor has fewer rows than there are parts.
    """
    if parts == 1:
        return [batch]
    cut = [_rows(value, parts) for value in _values(batch).values()]
    return [_with(batch, dict(zip(_values(batch), values, strict=True))) for values in zip(*cut, strict=True)]


def moved(batch: Any, device: torch.device) -> Any:
    """`batch` on a device."""
    if device.type == "cpu":
        return batch
    return _with(batch, {name: v.to(device) if isinstance(v, Tensor) else v for name, v in _values(batch).items()})


def _values(batch: Any) -> dict[str, Any]:
    if isinstance(batch, Mapping):
        return dict(batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        return {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    raise ConfigError(f"a batch of type {type(batch).__name__} cannot be taken in parts or moved")


def _with(batch: Any, values: dict[str, Any]) -> Any:
    return values if isinstance(batch, Mapping) else dataclasses.replace(batch, **values)


def _rows(value: Any, parts: int) -> list[Any]:
    if isinstance(value, int):
        return [value] * parts
    if not isinstance(value, Tensor):
        raise ConfigError(f"a batch with a {type(value).__name__} in it cannot be taken in parts")
    if 0 < len(value) < parts:
        raise ConfigError(f"a batch of {len(value)} cannot be taken in {parts} parts")
    return [value[first::parts] for first in range(parts)]


def _weight(batch: Any, share: Share) -> float:
    """Share of the rows. Where tasks have batches of different sizes, each must divide evenly: which of them a loss
    is a mean over, nobody says."""
    sizes = {len(value) for value in _values(batch).values() if isinstance(value, Tensor) and len(value)}
    if len(sizes) == 1:
        rows = sizes.pop()
        return len(range(share.first, rows, share.of)) / rows
    if uneven := sorted(size for size in sizes if size % share.of):
        raise ConfigError(f"a batch of {uneven[0]} cannot be taken in {share.of} parts of the same size")
    return 1 / share.of


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch has an error of its own for a GPU, and only a text for the machine."""
    return isinstance(error, MemoryError) or any(
        sign in f"{type(error).__name__}: {error}"
        for sign in ("OutOfMemoryError: ", "can't allocate memory", "not enough memory")
    )
