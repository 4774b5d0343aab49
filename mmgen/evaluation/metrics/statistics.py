"""Distances between two sets of pictures, in the features of a judge.

Kernel and Frechet distance compare a sample of drawn pictures with a sample of real ones; precision and recall say
which of the two goes wrong: bad pictures, or kinds of pictures that are missing. Numbers can only be compared at one
judge and, for the Frechet distance, one n.

Shapes here: N drawn pictures, M real pictures, F features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]


def kernel_distance(drawn_NF: Features, real_MF: Features) -> float:
    """Unbiased squared maximum mean discrepancy with kernel (x.y / F + 1)^3: KID.

    Source: Binkowski et al. 2018, arXiv:1801.01401, eq. 4. Unlike there, all pictures make one set instead of
    random subsets. Not bounded by 0: for equal distributions it scatters around it.
    """
    kernel_NN, kernel_MM, kernel_NM = (
        _kernel(a, b) for a, b in ((drawn_NF, drawn_NF), (real_MF, real_MF), (drawn_NF, real_MF))
    )
    return _unbiased(kernel_NN, kernel_MM, kernel_NM)


def kernel_distance_interval(
    drawn_NF: Features, real_MF: Features, rng: np.random.Generator, resamples: int
) -> tuple[float, float, float]:
    """`kernel_distance` with a 95 % interval from half-samples (see `half_sample_interval`)."""
    kernel_NN, kernel_MM, kernel_NM = (
        _kernel(a, b) for a, b in ((drawn_NF, drawn_NF), (real_MF, real_MF), (drawn_NF, real_MF))
    )
    value = _unbiased(kernel_NN, kernel_MM, kernel_NM)
    halves = []
    for _ in range(resamples):
        n = rng.permutation(len(drawn_NF))[: len(drawn_NF) // 2]
        m = rng.permutation(len(real_MF))[: len(real_MF) // 2]
        halves.append(_unbiased(kernel_NN[np.ix_(n, n)], kernel_MM[np.ix_(m, m)], kernel_NM[np.ix_(n, m)]))
    return value, *half_sample_interval(value, halves)


def half_sample_interval(value: float, halves: list[float]) -> tuple[float, float]:
    """A 95 % interval around `value` from the same distance of random halves of both sets.

    A bootstrap with replacement would count copies of a picture as a match and push distances up. Halves drawn
    without replacement scatter by sqrt(2) too much, and the Frechet distance of fewer pictures is larger: both are
    taken back, by shrinking their scatter around their own mean and laying it around the estimate.
    """
    low, high = np.quantile(np.array(halves) - np.mean(halves), [0.025, 0.975]) / 2**0.5
    return value + float(low), value + float(high)


def frechet_distance(drawn_NF: Features, real_MF: Features) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two Gaussians: FID.

    Source: Heusel et al. 2017, arXiv:1706.08500, eq. 6.
    """
    mean = drawn_NF.mean(0) - real_MF.mean(0)
    first_FF, second_FF = np.cov(drawn_NF, rowvar=False), np.cov(real_MF, rowvar=False)
    # The root's trace is the sum of the roots of the product's eigenvalues, which are real and not below 0.
    roots = np.sqrt(np.clip(np.linalg.eigvals(first_FF @ second_FF).real, 0, None)).sum()
    return float(mean @ mean + np.trace(first_FF) + np.trace(second_FF) - 2 * roots)


def frechet_distance_interval(
    drawn_NF: Features, real_MF: Features, rng: np.random.Generator, resamples: int
) -> tuple[float, float, float]:
    """`frechet_distance` with a 95 % interval from half-samples (see `half_sample_interval`)."""
    value = frechet_distance(drawn_NF, real_MF)
    halves = [
        frechet_distance(*(rows[rng.permutation(len(rows))[: len(rows) // 2]] for rows in (drawn_NF, real_MF)))
        for _ in range(resamples)
    ]
    return value, *half_sample_interval(value, halves)


def precision_recall(drawn_NF: Features, real_MF: Features, neighbours: int = 3) -> tuple[Features, Features]:
    """Whether each drawn picture lies among real ones (N,), and each real one among drawn ones (M,), as 0 or 1.

    A set's region is the union of balls around its pictures that reach to the `neighbours`-th nearest of the same
    set (Kynkaanniemi et al. 2019, arXiv:1904.06991, eq. 1).
    """
    distance_NM = _distances(drawn_NF, real_MF)
    reach_N = np.partition(_distances(drawn_NF, drawn_NF), neighbours, axis=1)[:, neighbours]
    reach_M = np.partition(_distances(real_MF, real_MF), neighbours, axis=1)[:, neighbours]
    precision_N: Features = np.any(distance_NM <= reach_M[None, :], axis=1).astype(np.float64)
    recall_M: Features = np.any(distance_NM <= reach_N[:, None], axis=0).astype(np.float64)
    return precision_N, recall_M


def _kernel(a: Features, b: Features) -> Features:
    kernel: Features = (a @ b.T / a.shape[1] + 1) ** 3
    return kernel


def _unbiased(kernel_NN: Features, kernel_MM: Features, kernel_NM: Features) -> float:
    n, m = kernel_NM.shape
    within = (kernel_NN.sum() - np.trace(kernel_NN)) / (n * (n - 1))
    within += (kernel_MM.sum() - np.trace(kernel_MM)) / (m * (m - 1))
    return float(within - 2 * kernel_NM.mean())


def _distances(a: Features, b: Features) -> Features:
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    distances: Features = np.sqrt(np.clip(squares, 0, None))
    return distances
