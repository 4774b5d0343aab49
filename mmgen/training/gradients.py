"""Gradients of a step's objectives, side by side: one thread each, unless the caller wants them one after another.

At the sizes that train on a laptop, spreading each matrix product over two cores gains little (112 to 98 ms a step),
while two objectives on a core each need not wait for one another (78 ms). Each runs single-threaded and gradients are
added in the order of the objectives, so the sum does not depend on who ends first, nor on how many cores there are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import torch
from torch import Tensor, nn

from mmgen.data.order import generator
from mmgen.models.base import Loss, Player
from mmgen.training.microbatches import Part

Losses = dict[str, Tensor]


class SideBySide:
    """Computes gradients of independent objectives; a context, since it holds threads.

    Args:
        learned: parameters that every objective may depend on.
        threads: CPU threads of everything else, set again after each step.
        at_once: whether each objective has one thread, all at the same time; else they are taken one after another,
            each with all threads.
    """

    def __init__(self, learned: list[nn.Parameter], threads: int, *, at_once: bool = True) -> None:
        self._learned, self._threads, self._at_once = learned, threads, at_once
        self._pool = ThreadPoolExecutor(initializer=torch.set_num_threads, initargs=(1,))

    def __enter__(self) -> SideBySide:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        torch.set_num_threads(self._threads)

    def take(self, parts: Sequence[Part], seed: int, step: int) -> Losses:
        """Set `grad` of the learned parameters to that of the sum of the objectives; return their values.

        Args:
            parts: the batch, or its parts: those are taken one after another, each by its weight.
            seed: of the run.
            step: counted from 0.

        A `Player` reaches its own part of the model only; a parameter that nothing reaches gets no gradient.
        Each objective draws from a generator of its own, made from seed, its name, the step and the part's number.
        """
        losses: Losses = {}
        totals: list[Tensor | None] = [None] * len(self._learned)
        for part in parts:
            for name, (loss, gradients) in self._each(part, seed, step).items():
                loss = loss * part.weight
                losses[name] = losses[name] + loss if name in losses else loss
                for place, gradient in enumerate(gradients):
                    if gradient is not None:
                        weighted = gradient if part.weight == 1 else gradient * part.weight
                        total = totals[place]
                        totals[place] = weighted if total is None else total.add_(weighted)
        for parameter, total in zip(self._learned, totals, strict=True):
            parameter.grad = total
        return losses

    def _each(self, part: Part, seed: int, step: int) -> dict[str, tuple[Tensor, tuple[Tensor | None, ...]]]:
        """Value and gradients of each objective of a part."""
        device, more = self._learned[0].device, (part.number,) if part.number else ()
        draws = {name: generator(seed, name, step, *more, device=device) for name in part.objectives}
        if not self._at_once:
            return {name: self._one(objective, draws[name]) for name, objective in part.objectives.items()}
        torch.set_num_threads(1)
        waiting = {
            name: self._pool.submit(self._one, objective, draws[name]) for name, objective in part.objectives.items()
        }
        found = {name: future.result() for name, future in waiting.items()}
        torch.set_num_threads(self._threads)
        return found

    def _one(self, objective: Loss, rng: torch.Generator) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        # Where a family makes tensors (noise, masks) it names no device: on a GPU they are to be made there.
        with torch.device(rng.device) if rng.device.type != "cpu" else contextlib.nullcontext():
            loss = objective(rng)
        if not isinstance(objective, Player):
            return loss.detach(), torch.autograd.grad(loss, self._learned, allow_unused=True)
        own = list(objective.learns.parameters())
        found = dict(zip(map(id, own), torch.autograd.grad(loss, own, allow_unused=True), strict=True))
        return loss.detach(), tuple(found.get(id(parameter)) for parameter in self._learned)
