"""The picture codec: principal components, in closed form.

A picture of S x S pixels becomes its coefficients on the components that carry most of the training pictures'
variance. No training, exactly linear, seconds to fit; but bound to its data set and blurry for pictures unlike it:
the right codec for small sets on small machines, not for photographs at scale.

Coefficients are divided by the square root of their standard deviation and brought to unit mean variance, so that
coarse components stay larger than fine ones, though less than in pixels. Randomised SVD: Halko et al. 2011,
arXiv:0909.4061.

Shapes here: N pictures, P = 3 S S pixel values in [-1, 1], C components.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PrincipalCodec(nn.Module):
    """Pictures to coefficients and back."""

    mean_P: Tensor
    basis_PC: Tensor
    scale_C: Tensor

    def __init__(self, image_px: int, components: int) -> None:
        super().__init__()
        self.image_px = image_px
        values = 3 * image_px * image_px
        self.register_buffer("mean_P", torch.zeros(values))
        self.register_buffer("basis_PC", torch.zeros(values, components))
        self.register_buffer("scale_C", torch.ones(components))

    @torch.no_grad()
    def fit(self, images_N3SS: Tensor, weights_N: Tensor, rng: torch.Generator) -> None:
        """Fit to training pictures.

        Args:
            images_N3SS: float in [-1, 1].
            weights_N: how much each picture counts; variants of one concept should count less.
            rng: start of the randomised SVD.
        """
        x_NP = images_N3SS.flatten(1)
        weights_N = weights_N / weights_N.sum()
        components = self.scale_C.numel()
        self.mean_P.copy_(weights_N @ x_NP)
        y_NP = (x_NP - self.mean_P) * weights_N.sqrt()[:, None]
        # Fewer pictures than components: the rest of the basis stays zero and costs nothing.
        rank = min(components, *y_NP.shape)
        basis_PQ = torch.randn(y_NP.shape[1], min(rank + 32, *y_NP.shape), generator=rng)
        for _ in range(3):
            basis_PQ = torch.linalg.qr(y_NP.T @ (y_NP @ basis_PQ))[0]
        _, _, rotation_QQ = torch.linalg.svd(y_NP @ basis_PQ, full_matrices=False)
        self.basis_PC.zero_()
        self.basis_PC[:, :rank] = (basis_PQ @ rotation_QQ.T)[:, :rank]
        z_NC = (x_NP - self.mean_P) @ self.basis_PC
        std_C = (weights_N @ z_NC.square()).sqrt().clamp_min(1e-4)
        soft_C = std_C.sqrt()
        self.scale_C.copy_(soft_C * ((std_C / soft_C).square().mean().sqrt()))

    def map_to(self, other: PrincipalCodec) -> tuple[Tensor, Tensor]:
        """Matrix (C, C) and offset (C,) that turn coefficients of this codec into those of `other`: what `decode` here
        and `encode` there come to, clamping aside."""
        matrix_CC = self.scale_C[:, None] * (self.basis_PC.T @ other.basis_PC) / other.scale_C
        return matrix_CC, (self.mean_P - other.mean_P) @ other.basis_PC / other.scale_C

    def encode(self, images_N3SS: Tensor) -> Tensor:
        """Coefficients (N, C) of pictures in [-1, 1]."""
        return ((images_N3SS.flatten(1) - self.mean_P) @ self.basis_PC) / self.scale_C

    def decode(self, z_NC: Tensor) -> Tensor:
        """Pictures (N, 3, S, S), clamped to [-1, 1]."""
        x_NP = (z_NC * self.scale_C) @ self.basis_PC.T + self.mean_P
        return x_NP.clamp(-1, 1).view(-1, 3, self.image_px, self.image_px)
