"""How long and how fast a model learns."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import ConfigError, unknown

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """Optimiser, schedule and checkpoints of a run."""

    steps: int = 3000
    """Optimiser steps. Fixed, not timed: the same seed must give the same bytes on a slower machine."""
    processes: int = 1
    """Processes that share each batch. Part of the recipe: their gradients are added in another order than one process
    would add them, so the weights differ in the last digits."""
    device: str = "cpu"
    """`cpu`, or `cuda` for one GPU a process; never found out by itself, since every task of a run must name the same
    key, whatever machine it is on."""
    threads: int = 2
    """CPU threads; part of the recipe, since the order in which floats are summed depends on it. Each objective of a
    step takes one, whatever this says; a judge's step takes them all."""
    lr: float = 2e-3
    """Peak learning rate of AdamW."""
    table_lr: float = 5.0
    """Learning rate of lookup tables (words, positions) as a multiple of `lr`."""
    beta1: float = 0.9
    """Decay of AdamW's mean of gradients; games between two networks want less."""
    beta2: float = 0.97
    """Decay of its mean of squared gradients."""
    weight_decay: float = 0.02
    warmup: int = 100
    """Steps of linear warm-up."""
    flat: float = 0.5
    """Share of the steps at the peak rate; it then falls linearly to `final_lr`."""
    final_lr: float = 0.02
    """Last learning rate as a share of the peak."""
    clip: float = 1.0
    """Largest norm of the whole gradient."""
    ema: float = 0.998
    """Decay of the averaged weights that are kept, judged and served."""
    checkpoint_seconds: float = 30.0
    """Longest work that a kill can lose, at most 120; 1 % of the run where saving is cheap (`checkpoints.Pace`)."""
    sample_every: int = 500
    """Steps between grids at the fixed prompts."""
    init_from: str = ""
    """Key of the training whose weights are the first ones; random ones where it is empty. `--init-from` finds it."""

    def __post_init__(self) -> None:
        for name in ("steps", "processes", "threads", "sample_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"training.{name} must be at least 1, got {getattr(self, name)}")
        if self.device not in DEVICES:
            raise ConfigError(unknown("training.device", self.device, DEVICES))
        if not 0 <= self.checkpoint_seconds <= 120:
            raise ConfigError(f"training.checkpoint_seconds must be from 0 to 120, got {self.checkpoint_seconds}")
        if not 0 < self.lr < 1:
            raise ConfigError(f"training.lr must be between 0 and 1, got {self.lr}")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"training.ema must be at least 0 and below 1, got {self.ema}")
