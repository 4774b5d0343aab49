"""Sizes and losses of the GANs. Free of torch, so that plans and recipes load at once."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import ConfigError, unknown

LOSSES = ("bce", "wasserstein")
NETS = ("mlp", "conv")


@dataclass(frozen=True, kw_only=True, slots=True)
class GANConfig:
    """Config of `mmgen.models.gan.model.GAN`."""

    family: str = "gan"
    loss: str = "bce"
    """`bce`: Goodfellow et al. 2014, arXiv:1406.2661; `wasserstein`: Arjovsky et al. 2017, arXiv:1701.07875."""
    net: str = "mlp"
    """`mlp`: layers of 256, 512 and so on; `conv`: DCGAN, Radford et al. 2015, arXiv:1511.06434."""
    classes: bool = False
    """Whether a class can be asked for (conditional GAN: Mirza and Osindero 2014, arXiv:1411.1784)."""
    image_px: int = 28
    """Side of the pictures; a multiple of 4."""
    channels: int = 1
    """1 for grey pictures, 3 for colour."""
    noise: int = 100
    """Numbers that a picture is made from."""
    width: int = 32
    """Channels of the convolutions at full size."""
    batch: int = 64
    penalty: float = 1.0
    """Weight of the gradient penalty: at real pictures for `bce`, between real and made ones for `wasserstein`."""
    critic_steps: int = 1
    """Steps of the critic for one of the generator."""
    shift: int = 2
    """Largest shift in pixels by which real and made pictures are moved before the critic sees them."""

    def __post_init__(self) -> None:
        for name, choices in (("loss", LOSSES), ("net", NETS)):
            if getattr(self, name) not in choices:
                raise ConfigError(unknown(f"model.{name}", getattr(self, name), choices))
        if self.channels not in (1, 3):
            raise ConfigError(f"model.channels must be 1 (grey) or 3 (colour), got {self.channels}")
        if self.image_px % 4 or not 8 <= self.image_px <= 128:
            raise ConfigError(f"model.image_px must be a multiple of 4 from 8 to 128, got {self.image_px}")
        for name in ("noise", "width", "batch", "critic_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, got {getattr(self, name)}")
