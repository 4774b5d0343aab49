"""Generators and critics: plain layers as in the first GAN, or convolutions as in DCGAN.

DCGAN differs here in three ways: upsampling by nearest neighbour instead of strided transposed convolution (no
chequerboard; Odena et al. 2016, doi:10.23915/distill.00003), GroupNorm instead of BatchNorm (nothing depends on the
other pictures of a batch), and no norm in the critic, whose gradient is penalised sample by sample.

Shapes here: B pictures, Z noise, K classes, F features, S side, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmgen.models.gan.config import GANConfig


class Generator(nn.Module):
    """Noise, and a class where one can be asked for, to pictures in [-1, 1]."""

    def __init__(self, config: GANConfig, classes: int) -> None:
        super().__init__()
        self.shape = (config.channels, config.image_px, config.image_px)
        self.asked = nn.Linear(classes, config.noise, bias=False) if config.classes else None
        given = config.noise * (2 if config.classes else 1)
        pixels = config.channels * config.image_px**2
        if config.net == "mlp":
            self.net = nn.Sequential(
                nn.Linear(given, 256), nn.LeakyReLU(0.2), nn.Linear(256, 512), nn.LeakyReLU(0.2), nn.Linear(512, pixels)
            )
            return
        width, side = config.width, config.image_px // 4
        self.net = nn.Sequential(
            nn.Linear(given, 4 * width * side * side),
            nn.Unflatten(1, (4 * width, side, side)),
            nn.GroupNorm(8, 4 * width),
            nn.SiLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(4 * width, 2 * width, 3, padding=1),
            nn.GroupNorm(8, 2 * width),
            nn.SiLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, config.channels, 3, padding=1),
        )

    def forward(self, noise_BZ: Tensor, class_BK: Tensor) -> Tensor:
        """Pictures (B, C, S, S)."""
        if self.asked is not None:
            noise_BZ = torch.cat([noise_BZ, self.asked(class_BK)], 1)
        return torch.tanh(self.net(noise_BZ)).view(-1, *self.shape)


class Critic(nn.Module):
    """How real each picture looks, as one number; with classes, as a picture of the asked one.

    The class enters by projection: the inner product of features and class (Miyato and Koyama 2018, arXiv:1802.05637).
    """

    def __init__(self, config: GANConfig, classes: int) -> None:
        super().__init__()
        if config.net == "mlp":
            features = 256
            self.body = nn.Sequential(
                nn.Flatten(),
                nn.Linear(config.channels * config.image_px**2, 512),
                nn.LeakyReLU(0.2),
                nn.Linear(512, features),
                nn.LeakyReLU(0.2),
            )
        else:
            features = 4 * config.width * (config.image_px // 4) ** 2
            self.body = nn.Sequential(
                nn.Conv2d(config.channels, 2 * config.width, 4, 2, 1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(2 * config.width, 4 * config.width, 4, 2, 1),
                nn.LeakyReLU(0.2),
                nn.Flatten(),
            )
        self.real = nn.Linear(features, 1)
        self.fits = nn.Linear(classes, features, bias=False) if config.classes else None

    def forward(self, x_BCSS: Tensor, class_BK: Tensor) -> Tensor:
        """Scores (B,)."""
        features_BF = self.body(x_BCSS)
        score_B: Tensor = self.real(features_BF)[:, 0]
        if self.fits is not None:
            score_B = score_B + (features_BF * self.fits(class_BK)).sum(1) / features_BF.shape[1] ** 0.5
        return score_B
