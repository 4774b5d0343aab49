"""Sizes of the captioner. Free of torch, so that plans and recipes load at once."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowTellConfig:
    """Config of `mmgen.models.captioner.model.ShowTell`."""

    family: str = "showtell"
    image_px: int = 48
    """Side of the pictures that are described, a multiple of 8; attention has a grid of one place for 8 x 8 pixels."""
    channels: int = 96
    """Features of a place; the first layer has half of them."""
    blocks: int = 1
    """Residual blocks of the encoder."""
    word_width: int = 128
    """Width of a word's vector, which is also what predicts the word."""
    width: int = 256
    """Width of the LSTM."""
    place_width: int = 48
    """Features of a place that go into the first state."""
    max_words: int = 20
    """Longest caption in tokens; what is beyond is cut."""
    batch: int = 64
    """Pictures a step, half of them for each core."""
    noise: float = 0.1
    """Standard deviation of noise added to pictures in training; their values lie in [-1, 1]."""
    shift: float = 0.0
    """Pictures are moved by up to this share of their side in training, each way, and"""
    zoom: float = 0.0
    """made larger or smaller by up to this share."""
    tint: float = 0.0
    """Each colour channel is scaled by up to this share, about white."""
    balance: float = 0.3
    """A picture comes with weight 1 / (variants of its concept) ** balance."""

    def __post_init__(self) -> None:
        for name in ("channels", "word_width", "width", "place_width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("shift", "zoom", "tint"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise ConfigError(f"model.{name} must be between 0 and 0.5, got {getattr(self, name)}")
        if self.blocks < 0:
            raise ConfigError(f"model.blocks must be at least 0, got {self.blocks}")
        if not 16 <= self.image_px <= 256 or self.image_px % 8:
            raise ConfigError(f"model.image_px must be a multiple of 8 between 16 and 256, got {self.image_px}")
        if self.channels % 16:
            raise ConfigError(f"model.channels must be a multiple of 16, got {self.channels}")
        if self.batch < 2:
            raise ConfigError(f"model.batch must be at least 2, got {self.batch}")
        if self.max_words < 3:
            raise ConfigError(f"model.max_words must be at least 3, got {self.max_words}")
