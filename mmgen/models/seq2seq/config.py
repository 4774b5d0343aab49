"""Sizes of the text-to-text model. Free of torch, so that plans and recipes load at once."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class RewriterConfig:
    """Config of `mmgen.models.seq2seq.model.Rewriter`."""

    family: str = "rewriter"
    source: str = ""
    """Name in a sample's facts of the text to rewrite as its caption; empty: captions of one language are rewritten in
    another."""
    merges: int = 1500
    """Merges of byte-pair encoding."""
    max_source: int = 40
    """Longest source in pieces; what is beyond is cut."""
    max_target: int = 40
    """Longest answer in pieces."""
    width: int = 128
    """Channels of the transformer."""
    depth: int = 3
    """Transformer blocks."""
    heads: int = 4
    batch: int = 96
    balance: float = 0.5
    """A sample is drawn with weight 1 / (variants of its concept) ** balance."""
    dropout: float = 0.1
    """Share of the source's pieces that are hidden in training."""

    def __post_init__(self) -> None:
        for name in ("max_source", "max_target", "width", "depth", "heads", "batch"):
            if getattr(self, name) < 2 - (name in ("depth", "heads")):
                raise ConfigError(f"model.{name} is too small, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ConfigError(f"model.width={self.width} is not a multiple of model.heads={self.heads}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout must be at least 0 and below 1, got {self.dropout}")
