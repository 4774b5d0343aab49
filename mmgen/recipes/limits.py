"""What a run may cost before it is given up."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Bounds that hold over all attempts, whoever starts them. They change no output, so they are part of no key."""

    max_attempts: int = 10
    """Attempts of one stage that failed or were killed. Refused settings or data, and runs that were asked to stop,
    are not counted."""
    max_seconds: float = 86400.0
    """Seconds of all stages of the run."""
    max_gpu_seconds: float = 86400.0
    """Seconds of GPUs, summed over them."""
    stall_seconds: float = 1800.0
    """A stage that shows no progress for so long is ended, to be tried again."""

    def __post_init__(self) -> None:
        for name in ("max_attempts", "max_seconds", "max_gpu_seconds", "stall_seconds"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"limits.{name} must be above 0, got {getattr(self, name)}")
