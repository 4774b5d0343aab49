"""Sizes of the fusion models. Free of torch, so that plans and recipes load at once."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import ConfigError, unknown

JOINS = ("mvae", "mmvae", "mopoe", "mvtcae")
"""Ways to join what the modalities say; `mmgen.models.multimodal_vae.joins` has each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FusionConfig:
    """Config of `mmgen.models.multimodal_vae.model.Fusion`."""

    family: str = "fusion"
    join: str = "mopoe"
    """One of `JOINS`."""
    latent: int = 16
    """Numbers that all modalities share."""
    width: int = 320
    """Channels of the hidden layers."""
    image_px: int = 28
    frames: int = 32
    """Frames of 20 ms that a sound is cut or filled up to."""
    beta: float = 3.0
    """Weight of the KL terms."""
    alpha: float = 0.9
    """Of `mvtcae`: how much each modality alone must come to what all say together."""
    image_weight: float = 1.0
    """Weight of the nats of a picture. A long modality would drown a short one: the weights even them out."""
    text_weight: float = 8.0
    """Weight of the nats of a word."""
    sound_weight: float = 0.3
    """Weight of the nats of a sound."""
    sound_std: float = 1.0
    """Standard deviation of the noise of a spectrogram's values, in standard deviations of the training set."""
    batch: int = 128

    def __post_init__(self) -> None:
        if self.join not in JOINS:
            raise ConfigError(unknown("model.join", self.join, JOINS))
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"model.alpha must be between 0 and 1, got {self.alpha}")
        if self.sound_std <= 0:
            raise ConfigError(f"model.sound_std must be above 0, got {self.sound_std}")
        for name in ("latent", "width", "image_px", "frames", "batch"):
            if getattr(self, name) < 2:
                raise ConfigError(f"model.{name} must be at least 2, got {getattr(self, name)}")
