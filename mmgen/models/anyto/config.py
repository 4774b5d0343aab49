"""Sizes of the any-to-any model. Free of torch, so that plans and recipes load at once."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class AnyToConfig:
    """Config of `mmgen.models.anyto.model.AnyTo`."""

    family: str = "anyto"
    image_px: int = 64
    """Side of the pictures that are learned and drawn."""
    components: int = 768
    """Principal components that stand for a picture."""
    image_tokens: int = 8
    """Tokens that a picture is read as; divides `components`."""
    max_words: int = 20
    """Longest caption in tokens; what is beyond is cut."""
    width: int = 128
    """Channels of the transformer."""
    depth: int = 2
    """Transformer blocks."""
    heads: int = 4
    memory_rows: int = 8191
    """Rows that hashed phrases share; a prime spreads them best."""
    memory_width: int = 256
    """Width of the memory of phrases."""
    head_width: int = 768
    """Channels of the flow head. A picture that it draws lies in a subspace of this dimension."""
    head_blocks: int = 2
    image_batch: int = 64
    """Captions per step that are turned into pictures; 0 leaves drawing out, and"""
    text_batch: int = 32
    """Pictures per step that are turned into captions; 0 leaves describing out."""
    draws: int = 1
    """Noise levels per caption and step: several cost one pass of the transformer."""
    text_weight: float = 0.3
    """Weight of the caption loss beside the picture loss."""
    image_noise: float = 0.15
    """Noise added to pictures that are read, as a share of their standard deviation."""
    condition_drop: float = 0.1
    """Share of captions hidden in training, which makes guidance possible."""
    balance: float = 0.3
    """A picture is drawn with weight 1 / (variants of its concept) ** balance."""
    time_mean: float = -1.8
    """Mean of the logit-normal noise level; below 0 means more noise than picture."""
    guidance: float = 1.1
    """Strength of the caption in sampling; 1 is none."""
    ode_steps: int = 2
    """Euler steps in sampling."""

    def __post_init__(self) -> None:
        for name in (
            "width",
            "depth",
            "heads",
            "components",
            "image_tokens",
            "memory_rows",
            "head_width",
            "ode_steps",
            "draws",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ConfigError(f"model.width={self.width} is not a multiple of model.heads={self.heads}")
        if self.components % self.image_tokens:
            raise ConfigError(
                f"model.components={self.components} is not a multiple of model.image_tokens={self.image_tokens}"
            )
        if min(self.image_batch, self.text_batch) < 0 or not self.image_batch + self.text_batch:
            raise ConfigError(
                f"model.image_batch={self.image_batch} and model.text_batch={self.text_batch} leave nothing to learn; "
                "one may be 0"
            )
        if not 16 <= self.image_px <= 256:
            raise ConfigError(f"model.image_px must be between 16 and 256, got {self.image_px}")
