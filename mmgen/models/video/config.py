"""Sizes of the video model. Free of torch, so that plans and recipes load at once."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipsConfig:
    """Config of `mmgen.models.video.model.Clips`."""

    family: str = "clips"
    frames: int = 12
    """Frames of a clip; longer videos are cut."""
    given: int = 6
    """Frames that a prediction starts from."""
    image_px: int = 32
    patch: int = 2
    """Side of the squares of pixels that become channels."""
    width: int = 64
    """Channels at full size; twice as many at half of it."""
    depth: int = 3
    """Residual blocks at half size."""
    word_width: int = 64
    """Channels of a word."""
    batch: int = 32
    time_mean: float = -1.0
    """Mean of the logit-normal noise level; below 0 means more noise than picture."""
    steps: int = 8
    """Euler steps in sampling."""

    def __post_init__(self) -> None:
        for name in ("frames", "given", "image_px", "patch", "width", "depth", "word_width", "batch", "steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, got {getattr(self, name)}")
        if self.given >= self.frames:
            raise ConfigError(f"model.given={self.given} leaves nothing of model.frames={self.frames} to predict")
        if self.image_px % (2 * self.patch):
            raise ConfigError(f"model.image_px={self.image_px} is not a multiple of 2 x model.patch={self.patch}")
        if self.width % 8:
            raise ConfigError(f"model.width={self.width} is not a multiple of 8")
