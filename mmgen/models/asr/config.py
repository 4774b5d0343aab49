"""Sizes, augmentation and search of the recogniser. Free of torch, so that plans and recipes load at once."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class ListenerConfig:
    """Config of `mmgen.models.asr.model.Listener`."""

    family: str = "listener"
    stride: int = 3
    """Frames of 10 ms that become one step; a step names at most one character."""
    width: int = 160
    """Channels of the convolutions."""
    convolutions: int = 6
    """Residual convolutions; together they see 0.8 seconds."""
    dropout: float = 0.15
    clips: int = 16
    """Clips a step; joined to rows of about equal length."""
    row_seconds: float = 6.0
    """Shortest row; a batch with a longer clip has rows of that clip's length."""
    speed: float = 0.1
    """Clips are played faster or slower by up to this share (Ko et al. 2015)."""
    warp: float = 0.03
    """Bands are moved up or down by up to this share: other lengths of the vocal tract (Jaitly and Hinton 2013)."""
    noise: float = 0.3
    """Share of clips that noise is mixed into, 30 to 60 dB below the loudest band."""
    band_masks: int = 2
    """Masks over bands of a row (SpecAugment: Park et al. 2019, arXiv:1904.08779)."""
    band_mask: int = 10
    """Bands that a mask covers at most."""
    time_masks: float = 1.0
    """Masks over time a second."""
    time_mask: int = 8
    """Frames that a mask covers at most."""
    beam: int = 16
    """Prefixes that the search keeps; 0 takes the likeliest character of each step instead."""
    order: int = 7
    """Characters that the n-gram of the search sees, the next one among them."""
    language_weight: float = 0.6
    """Weight of the n-gram's log probability beside that of the network."""
    character_bonus: float = 1.4
    """Added for every character, against the n-gram's liking for short answers."""

    def __post_init__(self) -> None:
        for name in ("stride", "width", "clips", "order"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, got {getattr(self, name)}")
        if self.stride > 4:
            raise ConfigError(f"model.stride must be at most 4, or fast speech does not fit, got {self.stride}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout must be at least 0 and below 1, got {self.dropout}")
        if not 0 <= self.speed <= 0.3:
            raise ConfigError(f"model.speed must be between 0 and 0.3, got {self.speed}")
        if self.beam < 0:
            raise ConfigError(f"model.beam must be at least 0, got {self.beam}")
