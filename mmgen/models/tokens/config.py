"""Sizes of the token model. Free of torch, so that plans and recipes load at once."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class TokensConfig:
    """Config of `mmgen.models.tokens.model.Tokens`."""

    family: str = "tokens"
    image_px: int = 48
    """Side of the pictures that are learned and drawn."""
    components: int = 512
    """Principal components that the codes of a picture stand for."""
    codes: int = 64
    """Codes of a picture, coarse to fine; a multiple of `positions`."""
    codebook: int = 512
    """Values that a code can have."""
    positions: int = 8
    """Tokens of the transformer that a picture takes; each stands for `codes / positions` codes."""
    max_words: int = 20
    """Longest caption in tokens; what is beyond is cut."""
    width: int = 160
    """Channels of the transformer."""
    depth: int = 2
    """Transformer blocks."""
    heads: int = 4
    head_width: int = 480
    """Channels of the perceptron that predicts one code after the other within a position."""
    key_width: int = 32
    """Width of what is learned of each code value beside where it lies."""
    memory_rows: int = 8191
    """Rows that hashed phrases share; a prime spreads them best."""
    memory_width: int = 256
    """Width of the memory of phrases."""
    image_batch: int = 64
    """Captions a step that are turned into pictures; 0 leaves drawing out, and"""
    text_batch: int = 64
    """Pictures a step that are turned into captions; 0 leaves describing out."""
    text_weight: float = 0.5
    """Weight of the caption loss beside the picture loss; both are nats a token."""
    read_noise: float = 0.3
    """Noise added to the points of codes that are read, as a share of their root mean square: the same picture but for
    a detail has other codes nearby."""
    balance: float = 0.3
    """A picture comes with weight 1 / (variants of its concept) ** balance."""
    temperature: float = 0.25
    """Of sampling codes: 1 is what was learned, 0 the likeliest code each time."""

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads", "codes", "positions", "head_width", "key_width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ConfigError(f"model.width={self.width} is not a multiple of model.heads={self.heads}")
        if self.codes % self.positions:
            raise ConfigError(f"model.codes={self.codes} is not a multiple of model.positions={self.positions}")
        if self.components < 4 * self.codes:
            raise ConfigError(
                f"model.components={self.components} is less than 4 for each of model.codes={self.codes} codes"
            )
        if self.codebook < 2:
            raise ConfigError(f"model.codebook must be at least 2, got {self.codebook}")
        if min(self.image_batch, self.text_batch) < 0 or not self.image_batch + self.text_batch:
            raise ConfigError(
                f"model.image_batch={self.image_batch} and model.text_batch={self.text_batch} leave nothing to learn; "
                "one may be 0"
            )
        if not 16 <= self.image_px <= 256:
            raise ConfigError(f"model.image_px must be between 16 and 256, got {self.image_px}")
        if self.temperature < 0:
            raise ConfigError(f"model.temperature must be at least 0, got {self.temperature}")
