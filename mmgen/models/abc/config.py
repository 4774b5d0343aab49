"""Sizes of the tune model. Free of torch, so that plans and recipes load at once."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class MelodyConfig:
    """Config of `mmgen.models.abc.model.Melody`."""

    family: str = "melody"
    width: int = 128
    """Channels of the transformer."""
    depth: int = 4
    heads: int = 4
    max_tokens: int = 512
    """Longest tune in characters, header included."""
    batch: int = 16
    """Tunes a step."""
    dropout: float = 0.1
    """Share of the characters read that are hidden in training."""
    temperature: float = 0.8
    tries: int = 16
    """Times that a tune is composed, at most, while it cannot be read or a bar does not fill its metre; each time anew
    from its first wrong bar."""

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads", "batch", "tries"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ConfigError(f"model.width={self.width} is not a multiple of model.heads={self.heads}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout must be at least 0 and below 1, got {self.dropout}")
        if self.temperature <= 0:
            raise ConfigError(f"model.temperature must be above 0, got {self.temperature}")
