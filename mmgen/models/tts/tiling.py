"""Real frames that follow predicted ones: unit selection guided by a model.

Source: trajectory tiling (Qian, Soong and Yan 2013, IEEE TASLP 21:280) with the search of Hunt and Black 1996 (ICASSP):
each part of the text is taken from a place of the training clips where that part stands, and the row of places of the
least cost is found by dynamic programming. A place costs its distance from the predicted frames and its strange
neighbours; two places in a row cost nothing where the clip has them in a row, else a price and the difference of the
frames across the cut. Unlike there, units are the states of letters as the model aligned them, and frames are log-mel.

Shapes here: U units (states of the letters of all clips), C candidates, L units of the text, M mel bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Places = NDArray[np.int64]

SIDE = 8
"""Neighbours on each side that are compared."""
THIRDS = 3
"""Parts of a unit whose mean frames are compared."""
FADE = 2
"""Frames on each side of a cut over which both clips are blended."""


@dataclass(frozen=True)
class Bank:
    """The training clips as units."""

    symbol_U: Places
    """With SIDE places of -1 between clips, so that no unit has a neighbour of another clip."""
    start_U: Places
    """First frame of each unit, and"""
    end_U: Places
    """the one after its last."""
    frame_TM: Floats
    """All clips end to end, scaled."""
    parts_UM: Floats
    """Mean frames of the thirds of each unit, side by side: (U, THIRDS * M)."""

    @classmethod
    def of(cls, symbols: Sequence[Places], durations: Sequence[Places], frame_TM: Floats) -> Bank:
        """The bank of clips whose states were aligned; `durations` are frames a unit."""
        gap = np.full(SIDE, -1)
        nothing = np.zeros(SIDE, dtype=np.int64)
        symbol_U, end_U, start_U, done = [gap], [nothing], [nothing], 0
        for states, lasts in zip(symbols, durations, strict=True):
            ends = done + np.cumsum(lasts)
            symbol_U += [states, gap]
            start_U += [ends - lasts, nothing]
            end_U += [ends, nothing]
            done = int(ends[-1])
        starts, ends = np.concatenate(start_U), np.concatenate(end_U)
        return cls(np.concatenate(symbol_U), starts, ends, frame_TM, thirds(frame_TM, starts, ends))


def thirds(frame_TM: Floats, start_U: Places, end_U: Places) -> Floats:
    """Mean frames (U, THIRDS * M) of the thirds of each stretch; a part without a frame takes the nearest one."""
    sums = np.concatenate([np.zeros((1, frame_TM.shape[1])), np.cumsum(frame_TM, 0, dtype=np.float64)])
    parts = []
    for part in range(THIRDS):
        low = start_U + (end_U - start_U) * part // THIRDS
        high = np.maximum(start_U + (end_U - start_U) * (part + 1) // THIRDS, low + 1)
        high = np.minimum(high, len(frame_TM))
        low = np.minimum(low, high - 1)
        parts.append((sums[high] - sums[low]) / (high - low)[:, None])
    return np.concatenate(parts, 1).astype(np.float32)


def tile(
    bank: Bank,
    symbol_L: Places,
    duration_L: Places,
    frame_TM: Floats,
    *,
    candidates: int,
    context_weight: float,
    price: NDArray[np.float64],
) -> tuple[Floats, Places]:
    """Real frames for a text.

    Args:
        bank: the training clips.
        symbol_L: units of the text.
        duration_L: predicted frames of each.
        frame_TM: predicted frames, as many as the durations say.
        candidates: places that are weighed for each unit.
        context_weight: cost of each neighbour that differs.
        price: cost of a cut between each two units, (L - 1,).

    Returns:
        The frames, and for each unit of the text the one that was chosen; -1 where the clips do not have it and its
        predicted frames are used.
    """
    end_L = np.cumsum(duration_L)
    wanted_LM = thirds(frame_TM, end_L - duration_L, end_L)
    padded = np.concatenate([np.full(SIDE, -2), symbol_L, np.full(SIDE, -2)])
    units, costs = [], []
    for place, symbol in enumerate(symbol_L):
        unit_C = np.flatnonzero(bank.symbol_U == symbol)
        strange_C = np.zeros(len(unit_C))
        for step in (step for side in range(1, SIDE + 1) for step in (-side, side)):
            strange_C += bank.symbol_U[unit_C + step] != padded[place + SIDE + step]
        cost_C = context_weight * strange_C
        nearest = np.argsort(cost_C, kind="stable")[: 4 * candidates]
        unit_C, cost_C = unit_C[nearest], cost_C[nearest]
        cost_C = cost_C + np.abs(bank.parts_UM[unit_C] - wanted_LM[place]).mean(1)
        last_C = bank.end_U[unit_C] - bank.start_U[unit_C]
        cost_C = cost_C + 0.5 * np.abs(np.log(last_C / duration_L[place]))
        best = np.argsort(cost_C, kind="stable")[:candidates]
        units.append(unit_C[best] if len(unit_C) else np.array([-1]))
        costs.append(cost_C[best] if len(unit_C) else np.zeros(1))
    chosen_L = _cheapest(bank, units, costs, price)
    return _render(bank, chosen_L, frame_TM, end_L - duration_L, end_L), chosen_L


def _cheapest(bank: Bank, units: list[Places], costs: list[NDArray[np.float64]], price: NDArray[np.float64]) -> Places:
    """The row of units of the least cost; `price` is that of a cut between each two."""
    total_C, came = costs[0], []
    for before, after, cost, cut in zip(units[:-1], units[1:], costs[1:], price, strict=True):
        # The clip's own next frame against the frame that is joined instead.
        here = bank.frame_TM[np.minimum(bank.end_U[before], len(bank.frame_TM) - 1)]
        there = bank.frame_TM[bank.start_U[after]]
        join = cut + np.abs(here[:, None] - there[None]).mean(2)
        join[after[None] == before[:, None] + 1] = 0
        join[(before < 0)[:, None] | (after < 0)[None]] = cut
        sums = total_C[:, None] + join
        came.append(sums.argmin(0))
        total_C = sums.min(0) + cost
    place = int(total_C.argmin())
    chosen = [units[-1][place]]
    for number in range(len(came) - 1, -1, -1):
        place = int(came[number][place])
        chosen.append(units[number][place])
    return np.array(chosen[::-1])


def _render(bank: Bank, chosen_L: Places, frame_TM: Floats, start_L: Places, end_L: Places) -> Floats:
    """Frames of the chosen units; across a cut, each clip's own continuation is blended into the other."""
    pieces: list[Floats] = []
    before = -1
    for number, unit in enumerate(chosen_L):
        if unit < 0:
            pieces.append(frame_TM[start_L[number] : end_L[number]])
        elif before >= 0 and unit == before + 1:
            pieces[-1] = np.concatenate([pieces[-1], bank.frame_TM[bank.start_U[unit] : bank.end_U[unit]]])
        else:
            piece = bank.frame_TM[bank.start_U[unit] : bank.end_U[unit]].copy()
            if pieces and before >= 0:
                _blend(bank, pieces[-1], piece, int(bank.end_U[before]), int(bank.start_U[unit]))
            pieces.append(piece)
        before = int(unit)
    return np.concatenate(pieces)


def _blend(bank: Bank, left: Floats, right: Floats, left_end: int, right_start: int) -> None:
    """Cross-fade in place: weights go from one clip to the other over 2 * FADE frames."""
    for step in range(1, FADE + 1):
        share = 0.5 * (1 - (step - 0.5) / FADE)
        ahead = bank.frame_TM[min(left_end + step - 1, len(bank.frame_TM) - 1)]
        behind = bank.frame_TM[max(right_start - step, 0)]
        if step <= len(right):
            right[step - 1] = (1 - share) * right[step - 1] + share * ahead
        if step <= len(left):
            left[-step] = (1 - share) * left[-step] + share * behind
