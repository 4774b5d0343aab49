"""Sizes of the model that answers from fused features. Free of torch, so that plans and recipes load at once."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class FusedConfig:
    """Config of `mmgen.models.classifier.model.Fused`."""

    family: str = "fused"
    target: str = "group"
    """Name in a sample's facts of what is asked: a word (a class) or, with a period, a number."""
    period: float = 0.0
    """Of a number that comes round, such as 1,440 minutes of a day; 0: the target is a class."""
    unit: str = ""
    """Of the number, for answers in words."""
    image_px: int = 40
    width: int = 32
    """Channels of the first convolution."""
    features: int = 128
    """Numbers that each modality gives."""
    rows: int = 8191
    """Rows that hashed n-grams of characters share."""
    alone: float = 0.5
    """Share of training samples of which only one modality is shown."""
    shift: int = 2
    """Largest shift in pixels of the pictures that are learned from."""
    batch: int = 64

    def __post_init__(self) -> None:
        if self.period < 0:
            raise ConfigError(f"model.period must be at least 0, got {self.period}")
        if not 0 <= self.alone <= 1:
            raise ConfigError(f"model.alone must be between 0 and 1, got {self.alone}")
        if self.width % 4:
            raise ConfigError(f"model.width={self.width} is not a multiple of 4")
        for name in ("image_px", "features", "rows", "batch"):
            if getattr(self, name) < 2:
                raise ConfigError(f"model.{name} must be at least 2, got {getattr(self, name)}")
