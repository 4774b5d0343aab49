"""The network of the video model: a small U-Net over all frames at once, frames as channels.

As in MCVD (Voleti et al. 2022, arXiv:2205.09853) noisy and known frames are stacked as channels of a two-dimensional
net. Squares of pixels become channels first, there are two sizes and no attention: a thing that moves needs to be seen
wherever it is, which a convolution over the whole of a small picture does at a fraction of the cost.

Shapes here: B clips, T frames, S side in pixels, C channels, K channels of the condition.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_GROUPS = 8


class Block(nn.Module):
    """Two convolutions added to the stream; the condition scales and shifts what lies between them."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(_GROUPS, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.steer = nn.Linear(condition, 2 * channels)
        self.second_norm = nn.GroupNorm(_GROUPS, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.steer.weight)
        nn.init.zeros_(self.second.weight)

    def forward(self, x_BCHW: Tensor, condition_BK: Tensor) -> Tensor:
        """One block."""
        h_BCHW = self.first(F.silu(self.first_norm(x_BCHW)))
        scale_BC11, shift_BC11 = self.steer(condition_BK)[:, :, None, None].chunk(2, 1)
        h_BCHW = self.second_norm(h_BCHW) * (1 + scale_BC11) + shift_BC11
        out: Tensor = x_BCHW + self.second(F.silu(h_BCHW))
        return out


class FrameNet(nn.Module):
    """Clean frames from noisy ones, known ones and a condition.

    Args:
        frames: T.
        patch: side of the squares of pixels that become channels.
        width: channels at full size.
        depth: blocks at half size.
        condition: K.
    """

    def __init__(self, frames: int, patch: int, width: int, depth: int, condition: int) -> None:
        super().__init__()
        self.patch = patch
        values = 3 * frames * patch**2
        self.read = nn.Conv2d(2 * values + frames, width, 1)
        self.before = Block(width, condition)
        self.down = nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.middle = nn.ModuleList(Block(2 * width, condition) for _ in range(depth))
        self.up = nn.Conv2d(2 * width, width, 3, padding=1)
        self.after = Block(width, condition)
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.write = nn.Conv2d(width, values, 1)
        nn.init.zeros_(self.write.weight)

    def forward(self, z_BT3SS: Tensor, known_BT3SS: Tensor, mask_BT: Tensor, condition_BK: Tensor) -> Tensor:
        """Clean frames (B, T, 3, S, S).

        Args:
            z_BT3SS: noisy frames.
            known_BT3SS: frames that are given; zero where they are not.
            mask_BT: 1 where a frame is given.
            condition_BK: of caption and noise level.
        """
        shape = z_BT3SS.shape
        stacked = F.pixel_unshuffle(torch.cat([z_BT3SS, known_BT3SS], 1).flatten(1, 2), self.patch)
        mask_BTHW = mask_BT[:, :, None, None].expand(-1, -1, *stacked.shape[-2:])
        x = self.before(self.read(torch.cat([stacked, mask_BTHW], 1)), condition_BK)
        small = self.down(x)
        for block in self.middle:
            small = block(small, condition_BK)
        x = x + F.interpolate(self.up(small), scale_factor=2)
        out = self.write(F.silu(self.norm(self.after(x, condition_BK))))
        return F.pixel_shuffle(out, self.patch).view(shape)
