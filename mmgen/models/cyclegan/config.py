"""Sizes and weights of CycleGAN. Free of torch, so that plans and recipes load at once."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleGANConfig:
    """Config of `mmgen.models.cyclegan.model.CycleGAN`."""

    family: str = "cyclegan"
    source: str = "twemoji"
    """`style` of the pictures of one side."""
    target: str = "openmoji"
    """`style` of the other side."""
    image_px: int = 32
    """Side of the pictures; a multiple of 4."""
    width: int = 16
    """Channels of the painters at full size."""
    blocks: int = 3
    """Residual blocks of a painter at a quarter of the size."""
    critic_width: int = 32
    batch: int = 6
    """Pictures of each side a step."""
    cycle: float = 5.0
    """Weight of the way there and back."""
    identity: float = 1.0
    """Weight of leaving a picture alone that is in the wanted style already."""

    def __post_init__(self) -> None:
        if self.source == self.target:
            raise ConfigError(f"model.source and model.target are both {self.source!r}; name two styles")
        if self.image_px % 4 or not 16 <= self.image_px <= 128:
            raise ConfigError(f"model.image_px must be a multiple of 4 from 16 to 128, got {self.image_px}")
        for name in ("width", "critic_width"):
            if getattr(self, name) % 8 or getattr(self, name) < 8:
                raise ConfigError(f"model.{name} must be a multiple of 8, got {getattr(self, name)}")
        for name in ("batch", "blocks"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, got {getattr(self, name)}")
