"""The flow head: a perceptron that turns noise into a picture's coefficients, told by a condition.

Rectified flow (Liu et al. 2022, arXiv:2209.03003) along z_t = t x + (1 - t) noise, t = 1 clean. The net predicts the
clean x rather than the velocity (JiT, Li and He 2025, arXiv:2511.13720); a small perceptron per condition instead of
noisy tokens in the transformer follows MAR (Li et al. 2024, arXiv:2406.11838): the transformer runs once per picture,
the head once per step. Unlike both, the error is measured in x, not in v: a caption nearly determines its picture
here, and the v-weights would spend the training on the last, easy steps.

Shapes here: N pictures, C coefficients, D width of the condition, W width of the head, V = W / 4.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FlowHead(nn.Module):
    """x_hat = net(z_t, t, condition), conditioned by adaptive norm (adaLN-zero, arXiv:2212.09748)."""

    def __init__(self, coefficients: int, condition: int, width: int, blocks: int) -> None:
        super().__init__()
        self.read = nn.Linear(coefficients, width)
        self.condition = nn.Linear(condition, width)
        # What steers the norms is narrower than what is added: wide, it would be half of the head's work.
        self.steer = nn.Linear(condition + 16, width // 4)
        self.norms = nn.ModuleList(nn.RMSNorm(width, elementwise_affine=False) for _ in range(blocks))
        self.adapt = nn.ModuleList(nn.Linear(width // 4, 3 * width) for _ in range(blocks))
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.outer = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.write = nn.Linear(width, coefficients)
        for layer in (*self.adapt, *self.outer, self.write):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, z_NC: Tensor, t_N: Tensor, condition_ND: Tensor) -> Tensor:
        """Clean coefficients (N, C) from noisy ones, levels `t_N` in [0, 1] and conditions."""
        h_NW = self.read(z_NC) + self.condition(condition_ND)
        steer_NV = F.silu(self.steer(torch.cat([condition_ND, _waves(t_N)], 1)))
        for norm, adapt, inner, outer in zip(self.norms, self.adapt, self.inner, self.outer, strict=True):
            shift_NW, scale_NW, gate_NW = adapt(steer_NV).chunk(3, dim=-1)
            h_NW = h_NW + (1 + gate_NW) * outer(F.silu(inner(norm(h_NW) * (1 + scale_NW) + shift_NW)))
        out: Tensor = self.write(h_NW)
        return out

    def turn(self, back_CC: Tensor, back_C: Tensor, forth_CC: Tensor, forth_C: Tensor) -> None:
        """Change the coefficients that are read and written, in place, for the same pictures as before.

        Args:
            back_CC: with `back_C`, new coefficients to the old ones, z_old = z_new back_CC + back_C.
            forth_CC: with `forth_C`, old coefficients to the new ones.
        """
        self.read.bias.add_(self.read.weight @ back_C)
        self.read.weight.copy_(self.read.weight @ back_CC.T)
        self.write.bias.copy_(self.write.bias @ forth_CC + forth_C)
        self.write.weight.copy_(forth_CC.T @ self.write.weight)


def noisy(x_NC: Tensor, mean: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw t = sigmoid(N(mean, 1)) (arXiv:2403.03206, sec. 3.1) and noise; return (z_t, t)."""
    t_N = torch.sigmoid(mean + torch.randn(x_NC.shape[0], generator=rng))
    noise_NC = torch.randn(x_NC.shape, generator=rng)
    return t_N[:, None] * x_NC + (1 - t_N[:, None]) * noise_NC, t_N


def sample(
    head: FlowHead, condition_ND: Tensor, empty_D: Tensor, noise_NC: Tensor, steps: int, guidance: float
) -> Tensor:
    """Euler steps from t = 0 to t = 1 with classifier-free guidance (arXiv:2207.12598).

    Args:
        condition_ND: one condition per picture.
        empty_D: the condition of a hidden caption.
        noise_NC: start of the path; same noise, same picture.
        steps: Euler steps.
        guidance: x = x_empty + guidance (x_condition - x_empty).

    Returns:
        Coefficients, (N, C).
    """
    z_NC = noise_NC
    empty_ND = empty_D.expand_as(condition_ND)
    for step in range(steps):
        t = step / steps
        t_N = torch.full((len(z_NC),), t)
        x_NC = head(z_NC, t_N, condition_ND)
        if guidance != 1:
            unguided_NC = head(z_NC, t_N, empty_ND)
            x_NC = unguided_NC + guidance * (x_NC - unguided_NC)
        # The straight line from z_t to x_hat, walked for 1 / steps of the time that is left.
        z_NC = z_NC + (x_NC - z_NC) / (steps - step)
    return z_NC


def _waves(t_N: Tensor) -> Tensor:
    """(N, 16) sines and cosines of t at 8 frequencies."""
    angles = t_N[:, None] * (torch.pi * 2.0 ** torch.arange(8, device=t_N.device))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
