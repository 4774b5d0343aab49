"""Ways from one point of a latent space to another: what families share that can show what lies between two things.

Shapes here: S steps, Z numbers of a point.
"""

from __future__ import annotations

import torch
from torch import Tensor


def line(ends_2Z: Tensor, steps: int) -> Tensor:
    """Points (S, Z) on the straight line from the first end to the second, both included.

    >>> line(torch.tensor([[0.0], [2.0]]), 3).tolist()
    [[0.0], [1.0], [2.0]]
    """
    share_S1 = torch.linspace(0, 1, steps)[:, None]
    return ends_2Z[:1] + share_S1 * (ends_2Z[1:] - ends_2Z[:1])


def arc(ends_2Z: Tensor, steps: int) -> Tensor:
    """Points (S, Z) on the great circle between two ends, whose length changes evenly.

    The straight line between two draws of a normal in many dimensions passes where that normal puts nothing (White
    2016, arXiv:1609.04468).
    """
    share_S1 = torch.linspace(0, 1, steps)[:, None]
    length_21 = ends_2Z.norm(dim=1, keepdim=True).clamp_min(1e-9)
    first_1Z, second_1Z = (ends_2Z / length_21).split(1)
    angle = (first_1Z * second_1Z).sum().clamp(-1, 1).acos()
    if angle < 1e-4:
        return line(ends_2Z, steps)
    turned_SZ = (((1 - share_S1) * angle).sin() * first_1Z + (share_S1 * angle).sin() * second_1Z) / angle.sin()
    found_SZ: Tensor = turned_SZ * line(length_21, steps)
    return found_SZ


def nats_by_number(mean_NZ: Tensor, log_NZ: Tensor) -> Tensor:
    """What each number carries (Z,): KL of normals with these means and log deviations from the standard normal."""
    return 0.5 * (mean_NZ.square() + (2 * log_NZ).exp() - 1 - 2 * log_NZ).mean(0)
