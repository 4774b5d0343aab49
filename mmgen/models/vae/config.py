"""Sizes of the VAEs. Free of torch, so that plans and recipes load at once."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class VAEConfig:
    """Config of `mmgen.models.vae.model.VAE`."""

    family: str = "vae"
    beta: float = 1.0
    """Weight of the KL term; above 1, directions of the latent space mean one thing each (Higgins et al. 2017)."""
    classes: bool = False
    """Whether a class can be asked for (conditional VAE: Sohn et al. 2015)."""
    image_px: int = 28
    latent: int = 20
    """Numbers that a picture passes through."""
    width: int = 512
    """Channels of the hidden layers."""
    batch: int = 128

    def __post_init__(self) -> None:
        if self.beta < 0:
            raise ConfigError(f"model.beta must be at least 0, got {self.beta}")
        for name in ("image_px", "latent", "width", "batch"):
            if getattr(self, name) < 2:
                raise ConfigError(f"model.{name} must be at least 2, got {getattr(self, name)}")
