"""Sizes of the model of piano rolls. Free of torch, so that plans and recipes load at once."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class RollsConfig:
    """Config of `mmgen.models.piano_rolls.model.Rolls`."""

    family: str = "rolls"
    width: int = 128
    """Channels of the transformer."""
    depth: int = 4
    heads: int = 4
    max_frames: int = 160
    """Longest piece in quarter notes; what is beyond is cut."""
    voices: int = 6
    """Most notes at a time; deeper ones are left out."""
    transpose: int = 5
    """Semitones up or down by which a piece is moved each time it is learned from, at most."""
    dropout: float = 0.15
    """Share of the notes read that are hidden in training."""
    batch: int = 8
    """Pieces a step."""
    frames: int = 64
    """Quarter notes of a piece from nothing, and of a begun piece when it is done."""
    temperature: float = 0.85

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads", "max_frames", "voices", "batch", "frames"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ConfigError(f"model.width={self.width} is not a multiple of model.heads={self.heads}")
        if self.frames > self.max_frames:
            raise ConfigError(f"model.frames={self.frames} is above model.max_frames={self.max_frames}")
        if not 0 <= self.transpose <= 12:
            raise ConfigError(f"model.transpose must be from 0 to 12, got {self.transpose}")
        if self.temperature <= 0:
            raise ConfigError(f"model.temperature must be above 0, got {self.temperature}")
