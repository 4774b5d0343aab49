"""The painters and critics of CycleGAN.

Shapes here: B pictures, S side, W channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.norms = nn.ModuleList([nn.GroupNorm(8, width) for _ in range(2)])
        nn.init.zeros_(self.second.weight)

    def forward(self, x_BWSS: Tensor) -> Tensor:
        """The same shape."""
        h_BWSS = self.first(F.silu(self.norms[0](x_BWSS)))
        out: Tensor = x_BWSS + self.second(F.silu(self.norms[1](h_BWSS)))
        return out


class Painter(nn.Module):
    """A picture in [-1, 1] to one in the other style: what is learned is added to the picture.

    Down to a quarter of the size, residual blocks, and up again with what was there on the way down (U-Net, Ronneberger
    et al. 2015, arXiv:1505.04597). It starts as a copier.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        middle, deep = 2 * width, 3 * width
        self.enter = nn.Conv2d(3, width, 3, padding=1)
        self.down1 = nn.Conv2d(width, middle, 4, 2, 1)
        self.down2 = nn.Conv2d(middle, deep, 4, 2, 1)
        self.blocks = nn.Sequential(*(Block(deep) for _ in range(blocks)))
        self.up2 = nn.Conv2d(deep + middle, middle, 3, padding=1)
        self.up1 = nn.Conv2d(middle + width, width, 3, padding=1)
        self.leave = nn.Conv2d(width, 3, 3, padding=1)
        self.norms = nn.ModuleList([nn.GroupNorm(8, size) for size in (width, middle, middle, width)])
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x_B3SS: Tensor) -> Tensor:
        """Pictures of the same shape, not clamped."""
        full = F.silu(self.norms[0](self.enter(x_B3SS)))
        half = F.silu(self.norms[1](self.down1(full)))
        deep = self.blocks(self.down2(half))
        half = F.silu(self.norms[2](self.up2(torch.cat([F.interpolate(deep, scale_factor=2), half], 1))))
        full = F.silu(self.norms[3](self.up1(torch.cat([F.interpolate(half, scale_factor=2), full], 1))))
        painted: Tensor = x_B3SS + self.leave(full)
        return painted


class PatchCritic(nn.Module):
    """How much each part of a picture looks like the style (PatchGAN, Isola et al. 2016, arXiv:1611.07004)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.GroupNorm(8, 2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1),
            nn.GroupNorm(8, 2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 3, 1, 1),
        )

    def forward(self, x_B3SS: Tensor) -> Tensor:
        """Scores (B, 1, S / 4, S / 4)."""
        scores: Tensor = self.layers(x_B3SS)
        return scores
