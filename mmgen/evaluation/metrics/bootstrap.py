"""Bootstrap intervals of a mean and of a paired difference of means.

Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile interval).
Values are one number a prompt; prompts are resampled with replacement, so an interval says how far the mean
could move with other prompts of the same kind, not with another training seed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmgen.errors import DataError

CHUNK = 2**22
"""Most indices drawn at once: 32 MiB of memory, whatever n is."""


class Interval(NamedTuple):
    """A mean, its interval and the number of values behind it."""

    value: float
    low: float
    high: float
    n: int


def mean_interval(
    values: ArrayLike, rng: np.random.Generator, *, resamples: int = 1000, level: float = 0.95
) -> Interval:
    """Mean of `values`, shape (n,), with a two-sided percentile interval.

    >>> mean_interval([1.0, 1.0, 1.0], np.random.default_rng(0))
    Interval(value=1.0, low=1.0, high=1.0, n=3)

    Raises:
        DataError: no values, more than one axis, or a value that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise DataError(f"an interval needs one or more values in one row, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise DataError(f"value {int(np.flatnonzero(~np.isfinite(array))[0])} of {array.size} is not finite")
    means = _means(array, rng, resamples)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(array.mean()), float(low), float(high), int(array.size))


def difference_interval(
    new: ArrayLike, old: ArrayLike, rng: np.random.Generator, *, resamples: int = 1000, level: float = 0.95
) -> Interval:
    """Mean of `new - old`, both of shape (n,) over the same prompts in the same order, with its interval.

    Raises:
        DataError: the lengths differ, or as for `mean_interval`.
    """
    first, second = np.asarray(new, dtype=np.float64), np.asarray(old, dtype=np.float64)
    if first.shape != second.shape:
        raise DataError(f"paired values need equal shapes, got {first.shape} and {second.shape}")
    return mean_interval(first - second, rng, resamples=resamples, level=level)


def bounds(values: ArrayLike, error: float, *, resamples: int, seed: int) -> tuple[float, float]:
    """Two percentile bounds of the mean of `values`, shape (n,): each is passed in a share `error` of cases.

    The resamples depend on n and `seed` alone: metrics over the same prompts are resampled alike.

    >>> bounds([1.0, 1.0, 1.0], 0.05, resamples=1000, seed=0)
    (1.0, 1.0)
    """
    array = np.asarray(values, dtype=np.float64)
    centre = array.mean()  # what single precision loses is then lost of the scatter, not of the mean
    means = _counts(array.size, resamples, seed) @ (array - centre).astype(np.float32) / array.size
    low, high = centre + np.quantile(means.astype(np.float64), [error, 1 - error])
    return float(low), float(high)


def gap_interval(there: ArrayLike, here: ArrayLike, rng: np.random.Generator, *, resamples: int = 1000) -> Interval:
    """Mean of `there` less mean of `here`, of different prompts, with its 95 % interval; n is the smaller number.

    >>> gap_interval([1.0, 1.0], [2.0, 2.0, 2.0], np.random.default_rng(0))
    Interval(value=-1.0, low=-1.0, high=-1.0, n=2)

    Raises:
        DataError: as for `mean_interval`.
    """
    a, b = np.asarray(there, dtype=np.float64), np.asarray(here, dtype=np.float64)
    value = mean_interval(a, rng, resamples=1).value - mean_interval(b, rng, resamples=1).value
    low, high = np.quantile(_means(a, rng, resamples) - _means(b, rng, resamples), [0.025, 0.975])
    return Interval(value, float(low), float(high), min(len(a), len(b)))


def seeds_interval(differences: ArrayLike, rng: np.random.Generator, *, resamples: int = 1000) -> Interval:
    """Mean of `differences`, shape (seeds, prompts), with a 95 % interval over other seeds and other prompts alike.

    Both are resampled (Davison and Hinkley 1997, Bootstrap Methods and their Application, section 3.8). A few seeds say
    little of how far seeds spread: the interval is then rather too narrow than too wide.

    >>> seeds_interval([[1.0, 1.0], [1.0, 1.0]], np.random.default_rng(0))
    Interval(value=1.0, low=1.0, high=1.0, n=2)

    Raises:
        DataError: not seeds by prompts, or a value is not finite.
    """
    found_SP = np.asarray(differences, dtype=np.float64)
    if found_SP.ndim != 2 or not found_SP.size or not np.isfinite(found_SP).all():
        raise DataError(f"an interval over seeds needs finite values by seed and prompt, got shape {found_SP.shape}")
    seeds, prompts = found_SP.shape
    often_RS = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
    often_RP = rng.multinomial(prompts, np.full(prompts, 1 / prompts), resamples)
    means_R = ((often_RS @ found_SP) * often_RP).sum(1) / found_SP.size
    low, high = np.quantile(means_R, [0.025, 0.975])
    return Interval(float(found_SP.mean()), float(low), float(high), prompts)


def ratio_interval(above: ArrayLike, below: ArrayLike, rng: np.random.Generator, *, resamples: int = 1000) -> Interval:
    """Mean of `above` over mean of `below`, both of shape (n,) over the same prompts, with its 95 % interval.

    >>> ratio_interval([1.0, 1.0], [2.0, 2.0], np.random.default_rng(0))
    Interval(value=0.5, low=0.5, high=0.5, n=2)
    """
    over, under = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    rows = rng.integers(0, len(over), (resamples, len(over)))
    low, high = np.quantile(over[rows].mean(1) / under[rows].mean(1), [0.025, 0.975])
    return Interval(float(over.mean() / under.mean()), float(low), float(high), len(over))


@lru_cache(maxsize=16)
def _counts(n: int, resamples: int, seed: int) -> NDArray[np.float32]:
    """How often each of `n` values comes in each resample, (resamples, n)."""
    rng = np.random.default_rng(seed)
    counts = np.empty((resamples, n), np.float32)
    for start in range(0, resamples, 500):
        some = counts[start : start + 500]
        some[:] = rng.multinomial(n, np.full(n, 1 / n), len(some))
    return counts


def _means(values: NDArray[np.float64], rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    """Means of `resamples` resamples, shape (resamples,)."""
    means = np.empty(resamples)
    step = max(1, CHUNK // values.size)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        picks = rng.integers(0, values.size, size=(count, values.size))
        means[start : start + count] = values[picks].mean(axis=1)
    return means
