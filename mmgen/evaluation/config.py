"""How a model is judged, and by whom."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeConfig:
    """The feature network that scores pictures; it learns from the `judge` split only."""

    steps: int = 300
    batch: int = 128
    width: int = 32
    """Channels of its first convolution."""
    features: int = 128
    """Numbers per picture."""
    seed: int = 7
    """Apart from the run's seed, so that all runs on one data set share one judge."""
    probes: int = 1000
    """Pictures that its own accuracy is measured on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """Sizes of the evaluation; every score is reported with its n and a 95 % interval."""

    seen: int = 600
    """Captions of the training split to score."""
    resamples: int = 1000
    """Bootstrap resamples behind each interval."""
    seed: int = 1
    """Noise of the evaluated samples: the same for champion and challenger."""

    def __post_init__(self) -> None:
        if self.seen < 50:
            raise ConfigError(f"evaluation.seen must be at least 50 for a meaningful interval, got {self.seen}")
