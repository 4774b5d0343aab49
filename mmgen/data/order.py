"""Which samples a step learns from, as a function of the step alone.

Resuming needs no cursor: step 812 of seed 0 has the same samples whenever and wherever it is asked for. Samples are
drawn by weight without the luck of independent draws: in every epoch each sample comes `weight x length` times,
rounded up or down at random (systematic sampling: Madow 1949, Annals of Mathematical Statistics 20:333).
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def derived_seed(*parts: object) -> int:
    """A seed below 2**62 that depends on `parts` alone, the same on every machine.

    >>> derived_seed(0, "step", 1) == derived_seed(0, "step", 1) != derived_seed(0, "step", 2)
    True
    """
    return int(hashlib.sha256(":".join(map(str, parts)).encode()).hexdigest(), 16) >> 194


def generator(*parts: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded by `derived_seed(*parts)`."""
    return torch.Generator(device).manual_seed(derived_seed(*parts))


class Order:
    """A weighted order of samples, cut into steps.

    Args:
        weights_N: how often each sample should come; any positive scale.
        per_step: samples a step.
        seed: of the run.
        stream: keeps orders of one run apart.
    """

    def __init__(self, weights_N: Tensor, per_step: int, seed: int, stream: str) -> None:
        self._ends_N = (weights_N.double() / weights_N.double().sum()).cumsum(0)
        self._ends_N[-1] = 1.0  # rounding must not lose the last sample
        self._length = max(len(weights_N), per_step)
        self._per_step, self._seed, self._stream = per_step, seed, stream
        self._epochs: dict[int, Tensor] = {}

    def at(self, step: int) -> Tensor:
        """Sample numbers of a step counted from 0, shape (per_step,)."""
        first = step * self._per_step
        places = torch.arange(first, first + self._per_step)
        if not self._per_step:  # a task that is left out
            return places
        epochs = places // self._length
        rows = [self._epoch(epoch)[places[epochs == epoch] % self._length] for epoch in sorted(set(epochs.tolist()))]
        return torch.cat(rows)

    def _epoch(self, epoch: int) -> Tensor:
        if epoch not in self._epochs:
            rng = generator(self._seed, self._stream, epoch)
            offset = torch.rand(1, generator=rng, dtype=torch.float64)
            ends_N = (self._ends_N * self._length + offset).floor().long()
            counts_N = ends_N.diff(prepend=torch.zeros(1, dtype=torch.long))
            samples_L = torch.repeat_interleave(torch.arange(len(counts_N)), counts_N)
            # Only the newest two are kept: a step spans no more.
            self._epochs = {key: value for key, value in self._epochs.items() if key == epoch - 1}
            self._epochs[epoch] = samples_L[torch.randperm(len(samples_L), generator=rng)]
        return self._epochs[epoch]
