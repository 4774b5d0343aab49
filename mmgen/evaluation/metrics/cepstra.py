"""How far one spoken sentence is from another in tone, apart from its timing: mel cepstral distortion.

Source: Kubichek 1993, IEEE Pacific Rim Conference on Communications, 125; frames are matched by dynamic time warping
(Sakoe and Chiba 1978, IEEE TASSP 26:43, symmetric steps). Loudness (coefficient 0) does not count.

Shapes here: T and U frames, M mel bands, K coefficients.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

COEFFICIENTS = 13


def cepstral_distortion(mel_TM: NDArray[np.float32], mel_UM: NDArray[np.float32]) -> float:
    """10 / ln 10 * sqrt(2 * sum of squared differences of cepstra), in dB, mean over the matched frames.

    Args:
        mel_TM: natural logarithm of amplitudes, and
        mel_UM: those of the other sentence.
    """
    first_TK, second_UK = (_cepstra(mel.astype(np.float64)) for mel in (mel_TM, mel_UM))
    squares_TU = (first_TK**2).sum(1)[:, None] + (second_UK**2).sum(1)[None] - 2 * first_TK @ second_UK.T
    total, pairs = warped(np.sqrt(np.maximum(squares_TU, 0)))
    return float(10 / np.log(10) * np.sqrt(2) * total / pairs)


def warped(distance_TU: Floats) -> tuple[float, int]:
    """The least sum of distances along a path from the first pair of frames to the last, and its number of pairs.

    A step goes on by a frame in the first, the second, or both.
    """
    length, width = distance_TU.shape
    # Cells of one diagonal depend on the two before it alone, so each is filled at once. Place i + 1 holds row i.
    sums = [np.full(length + 1, np.inf), np.full(length + 1, np.inf)]
    counts = [np.zeros(length + 1, dtype=np.int64), np.zeros(length + 1, dtype=np.int64)]
    sums[0][0] = 0.0
    for diagonal in range(length + width - 1):
        row = np.arange(max(0, diagonal - width + 1), min(length, diagonal + 1))
        # Came from: both, the first alone, the second alone.
        ways = np.stack([sums[0][row], sums[1][row], sums[1][row + 1]])
        pairs = np.stack([counts[0][row], counts[1][row], counts[1][row + 1]])
        best = ways.argmin(0)
        total, count = np.full(length + 1, np.inf), np.zeros(length + 1, dtype=np.int64)
        total[row + 1] = ways[best, np.arange(len(row))] + distance_TU[row, diagonal - row]
        count[row + 1] = pairs[best, np.arange(len(row))] + 1
        sums, counts = [sums[1], total], [counts[1], count]
    return float(sums[1][length]), int(counts[1][length])


def _cepstra(mel_TM: Floats) -> Floats:
    """Coefficients 1 to K of log amplitude = c_0 + sum of c_k cos(...), (T, K)."""
    bands = mel_TM.shape[1]
    angle_MK = np.pi / bands * (np.arange(bands)[:, None] + 0.5) * np.arange(1, COEFFICIENTS + 1)[None]
    cepstra: Floats = mel_TM @ np.cos(angle_MK) * (2 / bands)
    return cepstra
