"""Is a run still learning? Asked of every step before the optimiser may take it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmgen.errors import TrainingError

WINDOW = 20
"""Steps: the first so many say how bad a model is that knows nothing, the last so many whether this one is worse."""

DIVERGED = 10.0
"""A model is lost when all of its last losses are so many times the worst of its first."""


class Health:
    """Refuses losses and gradients that are not finite, and losses that have left for good.

    A game between parts of a model is not held to its first losses: there a loss that grows says nothing.

    Args:
        kept: `state()` of the run that this one goes on from.
    """

    def __init__(self, kept: Mapping[str, Any] | None) -> None:
        self._worst: float | None = kept["worst"] if kept else None
        self._seen: int = kept["seen"] if kept else 0
        self._above: int = kept["above"] if kept else 0

    def state(self) -> dict[str, Any]:
        """What a run that goes on has to know."""
        return {"worst": self._worst, "seen": self._seen, "above": self._above}

    def check(self, loss: float, parts: Mapping[str, Tensor], norm: float, where: str, *, game: bool) -> None:
        """One step's losses and the norm of its gradient; `game` says that an objective is a `Player`, `where` is
        said in the error.

        Raises:
            TrainingError: what is wrong with which of them.
        """
        if not math.isfinite(loss) or not math.isfinite(norm):
            values = {**{name: value.item() for name, value in parts.items()}, "gradient": norm}
            bad = ", ".join(f"{name} {value}" for name, value in values.items() if not math.isfinite(value))
            raise TrainingError(f"loss is not finite {where}: {bad or loss}")
        self._seen += 1
        if self._seen <= WINDOW:
            self._worst = loss if self._worst is None else max(self._worst, loss)
        elif not game and self._worst is not None and self._worst > 0:
            self._above = self._above + 1 if loss > DIVERGED * self._worst else 0
            if self._above == WINDOW:
                limit = f"{DIVERGED:g} times the worst of the first {WINDOW} ({self._worst:.3g})"
                raise TrainingError(f"loss diverged {where}: {loss:.3g}, for {WINDOW} steps above {limit}")
