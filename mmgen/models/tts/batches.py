"""Batches of the speaker: some clips a step, dealt out so that both cores have the same to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.data.order import Order


@dataclass(frozen=True)
class Clips:
    """Clips laid end to end; S symbols, T frames, M mel bands."""

    symbol_S: Tensor
    symbols: list[int]
    """How many symbols each clip has."""
    frame_TM: Tensor
    """Scaled to mean 0 and variance 1 in each band."""
    frames: list[int]
    """How many frames each clip has, a multiple of the model's stack."""

    @classmethod
    def of(cls, symbols: Sequence[Tensor], frames: Sequence[Tensor]) -> Clips:
        """Clips from the symbols and the frames of each."""
        return cls(
            torch.cat(list(symbols)), [len(s) for s in symbols], torch.cat(list(frames)), [len(f) for f in frames]
        )


class SpeakerBatches:
    """All clips with the order to draw them in.

    Args:
        symbols: numbers of each clip's symbols.
        frames: (T, M) of each clip.
        clips: clips a step.
        seed: of the run.
    """

    def __init__(self, symbols: Sequence[Tensor], frames: Sequence[Tensor], clips: int, seed: int) -> None:
        self._symbols, self._frames = symbols, frames
        self._order = Order(torch.ones(len(symbols)), clips, seed, "clips")

    def at(self, step: int) -> list[Clips]:
        """The two halves of a step's batch: the longest clip goes first, each next one to the half that has less."""
        halves: list[list[int]] = [[], []]
        load = [0, 0]
        for row in sorted(self._order.at(step).tolist(), key=lambda row: -len(self._frames[row])):
            half = load.index(min(load))
            halves[half].append(row)
            load[half] += len(self._frames[row])
        return [Clips.of([self._symbols[row] for row in rows], [self._frames[row] for row in rows]) for rows in halves]
