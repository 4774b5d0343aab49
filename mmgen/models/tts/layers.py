"""Convolutions over rows of different lengths laid end to end.

Clips differ in length by a factor of a hundred: padded to the longest, most of the work would be on padding. Here they
form one long row with a gap between two of them that is as long as a convolution reaches and held at zero, so that each
sees the same as if it stood alone.

Shapes here: N places of the long row with its gaps, R places that are real, D channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """A depthwise convolution and a two-layer perceptron, added to the row.

    Source: ConvNeXt (Liu et al. 2022, arXiv:2201.03545, fig. 4) in one dimension; its output starts at zero.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.near = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 3 * width)
        self.out = nn.Linear(3 * width, width)
        nn.init.zeros_(self.out.weight)

    def forward(self, x_ND: Tensor, real_N1: Tensor) -> Tensor:
        """One block; gaps stay zero."""
        near_ND = self.near(x_ND.T[None])[0].T
        out: Tensor = x_ND + self.out(F.silu(self.wide(self.norm(near_ND)))) * real_N1
        return out


class Row(nn.Module):
    """Blocks over clips that are laid end to end."""

    def __init__(self, width: int, depth: int, kernel: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, kernel) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.gap = kernel // 2

    def forward(self, x_RD: Tensor, lengths: Sequence[int]) -> Tensor:
        """(R, D) to (R, D); `lengths` say where one clip ends and the next begins."""
        place_R = torch.arange(len(x_RD)) + torch.repeat_interleave(
            self.gap * torch.arange(len(lengths)), torch.tensor(lengths)
        )
        total = len(x_RD) + self.gap * (len(lengths) - 1)
        x_ND = x_RD.new_zeros(total, x_RD.shape[1]).index_copy(0, place_R, x_RD)
        real_N1 = x_RD.new_zeros(total, 1)
        real_N1[place_R] = 1
        for block in self.blocks:
            x_ND = block(x_ND, real_N1)
        out: Tensor = self.norm(x_ND[place_R])
        return out
