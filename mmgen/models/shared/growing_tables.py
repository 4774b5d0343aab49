"""Tables that get more rows: what a model does that goes on to learn where new words come."""

from __future__ import annotations

import torch
from torch import nn


def grow(table: nn.Embedding, rows: int, rng: torch.Generator) -> None:
    """Give `table` as many `rows`, in place: those that it has stay, new ones are drawn with the spread of those.

    >>> table = nn.Embedding(2, 3)
    >>> grow(table, 5, torch.Generator())
    >>> table.weight.shape
    torch.Size([5, 3])
    """
    known_RD = table.weight.data
    new_ND = known_RD.std() * torch.randn(rows - len(known_RD), known_RD.shape[1], generator=rng)
    table.weight = nn.Parameter(torch.cat([known_RD, new_ND]))
    table.num_embeddings = rows
