"""Monotonic alignment search: which frames of a clip belong to which state of its text.

Source: Kim et al. 2020, Glow-TTS, arXiv:2005.11129, section on monotonic alignment search. Among all alignments that
start at the first state, end at the last and never skip or go back, the likeliest one is found by dynamic programming
(Viterbi). As in Grad-TTS (Popov et al. 2021, arXiv:2105.06337) a state says N(mean, 1) of each value of a frame.

Shapes here: T frames, S states, M mel bands.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@torch.no_grad()
def align(mean_SM: Tensor, frame_TM: Tensor) -> Tensor:
    """Frames that each state lasts, (S,) whole numbers of at least 1 that add up to T.

    Raises:
        ValueError: there are fewer frames than states.
    """
    # -|y - m|^2 / 2 without |y|^2, which is the same for every state.
    score_TS = frame_TM @ mean_SM.T - mean_SM.square().sum(1) / 2
    return torch.from_numpy(longest_path(score_TS.double().numpy()))


def longest_path(score_TS: NDArray[np.float64]) -> NDArray[np.int64]:
    """Frames in each state on the path of largest sum; `align` says which paths there are."""
    length, states = score_TS.shape
    if length < states:
        raise ValueError(f"{length} frames cannot hold {states} states")
    came_TS = np.zeros((length, states), dtype=bool)
    best_S = np.full(states + 1, -np.inf)  # one place before the first state, never reached
    best_S[1] = score_TS[0, 0]
    for frame in range(1, length):
        came_TS[frame] = best_S[:-1] > best_S[1:]
        np.maximum(best_S[1:], best_S[:-1], out=best_S[1:])
        best_S[1:] += score_TS[frame]
    count_S = np.zeros(states, dtype=np.int64)
    state = states - 1
    for frame in range(length - 1, -1, -1):
        count_S[state] += 1
        if came_TS[frame, state]:
            state -= 1
    return count_S
