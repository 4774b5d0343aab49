"""Sizes of the speaker and weights of its losses and costs."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import ConfigError, unknown

VOICES = ("tiled", "smooth")
"""`tiled`: real frames that follow the predicted ones. `smooth`: the predicted frames themselves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeakerConfig:
    """Settings of the speaker."""

    family: str = "speaker"
    width: int = 192
    """Channels of the network that reads the text."""
    depth: int = 3
    """Its blocks; with `kernel`, they decide how many letters around a letter change its sound."""
    frame_width: int = 128
    """Channels of the network that draws the frames."""
    frame_depth: int = 4
    """Its blocks."""
    kernel: int = 5
    """Places that a convolution sees; odd."""
    states: int = 2
    """Parts that a letter's sound is made of, each with a mean and a duration."""
    stack: int = 2
    """Frames that are drawn together: a step of the second network."""
    clips: int = 8
    """Clips per optimiser step, half of them on each core."""
    dropout: float = 0.1
    """Share of a letter's features that is hidden in training."""
    prior_weight: float = 0.5
    """Weight of the error of the states' means, which the alignment follows."""
    duration_weight: float = 0.1
    """Weight of the error of the square roots of durations."""
    voice: str = "tiled"
    """One of `VOICES`."""
    candidates: int = 40
    """Places of the training clips that are weighed for each state."""
    context_weight: float = 0.125
    """Cost of each neighbouring state, of eight on each side, that is not the asked one."""
    join_cost: float = 3.0
    """Cost of leaving a training clip, beside the difference of the frames on both sides of the cut."""
    edge_cost: float = 1.0
    """What it costs more between two letters: in the midst of one the sound holds still."""

    def __post_init__(self) -> None:
        for name in ("width", "depth", "frame_width", "frame_depth", "states", "stack", "candidates"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, got {getattr(self, name)}")
        if self.clips < 2:
            raise ConfigError(f"model.clips must be at least 2, one for each core, got {self.clips}")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ConfigError(f"model.kernel must be odd, got {self.kernel}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout must be at least 0 and below 1, got {self.dropout}")
        if self.voice not in VOICES:
            raise ConfigError(unknown("model.voice", self.voice, VOICES))
