"""Pictures varied while a model learns, so that it does not hold their exact pixels for what they show.

Every draw comes from the generator that is given, unlike torchvision's transforms, which draw from the global one.

Shapes here: B pictures, S side.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def varied(x_B3SS: Tensor, shift: float, zoom: float, tint: float, rng: torch.Generator) -> Tensor:
    """Pictures in [-1, 1], each moved, zoomed and tinted by its own draw; what comes in from outside is white.

    Args:
        shift: largest move, each way, as a share of the side.
        zoom: largest change of size, as a share.
        tint: largest change of a channel's distance from white, as a share.
    """
    count = len(x_B3SS)
    if shift or zoom:
        scale_B, move_B2 = 1 + zoom * _draws((count,), rng), 2 * shift * _draws((count, 2), rng)
        theta_B23 = torch.zeros(count, 2, 3)
        theta_B23[:, 0, 0] = theta_B23[:, 1, 1] = scale_B
        theta_B23[:, :, 2] = move_B2
        grid_BSS2 = F.affine_grid(theta_B23, list(x_B3SS.shape), align_corners=False)
        # The grid's outside is 0: shifted by white, it is white.
        x_B3SS = F.grid_sample(x_B3SS - 1, grid_BSS2, align_corners=False) + 1
    if tint:
        x_B3SS = (x_B3SS - 1) * (1 + tint * _draws((count, 3, 1, 1), rng)) + 1
    return x_B3SS.clamp(-1, 1)


def _draws(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """Even draws from -1 to 1."""
    return 2 * torch.rand(shape, generator=rng) - 1
