"""Whether one version of a data set looks or reads otherwise than another, by more than chance.

Pictures are the slow waves of their thumbnails, captions are hashed words and pairs of words, so that nothing needs to
be trained or loaded. The distance of two sets is the energy distance (Szekely and Rizzo 2013,
doi:10.1016/j.jspi.2013.03.018) without the distance of a sample to itself: zero on average when nothing changed.

Shapes here: N and M samples, E numbers of an embedding.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmgen.data.changes.near_duplicates import waves
from mmgen.data.changes.scans import Seen
from mmgen.data.words import words

Embedded = NDArray[np.float32]
BUCKETS = 256
POOL = 1000
"""Samples of each version that are compared, at most; drawn anew they show how far chance alone goes."""
DRAWS = 100
REFERENCE = 4000
"""Samples of the old version that each new one is held against first."""
FOREIGN = 10
LEAST = 10


@dataclass(frozen=True, slots=True)
class Shift:
    """How far apart two versions are; each figure with the bounds between which 95 % of the draws lie."""

    n: int
    """Samples of either side in a draw."""
    distance: tuple[float, float, float]
    """Old to new: mean, lower and upper bound."""
    chance: tuple[float, float, float]
    """One random half of the old version to another."""
    foreign: list[tuple[str, float, str]]
    """Key of a new sample, how far its nearest old one is, and that one's key; the farthest first."""

    @property
    def beyond_chance(self) -> bool:
        """Whether the distance is larger than that of random halves."""
        return self.distance[0] > self.chance[2]


def shifts(old: Sequence[Seen], new: Sequence[Seen], fresh: Sequence[Seen]) -> dict[str, Shift]:
    """By kind, `pictures` and `captions`, where both versions have enough of them.

    Args:
        old: all samples of the old version.
        new: all of the new one.
        fresh: those of the new one that were added or changed.
    """
    kinds: dict[str, tuple[Callable[[Seen], bool], Callable[[Sequence[Seen]], Embedded]]] = {
        "pictures": (lambda one: one.thumbnail is not None, pictures),
        "captions": (lambda one: bool(one.captions), captions),
    }
    found = {}
    for name, (has, embed) in kinds.items():
        # Sorted, since shards come in the order in which processes were done with them.
        a, b, c = (sorted(filter(has, group), key=lambda one: one.key) for group in (old, new, fresh))
        if len(a) >= 2 * LEAST and len(b) >= LEAST:
            found[name] = _shift(a, b, c, embed)
    return found


def pictures(samples: Sequence[Seen]) -> Embedded:
    """(N, E) waves, scaled so that distances are those of thumbnails: root mean square, 0 to 255."""
    stacked_NP = np.stack([one.thumbnail for one in samples if one.thumbnail is not None])
    found: Embedded = waves(stacked_NP) / np.float32(np.sqrt(stacked_NP.shape[1]))
    return found


def captions(samples: Sequence[Seen]) -> Embedded:
    """(N, E) counts of words and pairs of words by their hash, of length 1."""
    found_NE = np.zeros((len(samples), BUCKETS), np.float32)
    for row, one in enumerate(samples):
        for _, caption in sorted(one.captions.items()):
            said = words(caption)
            for term in (*said, *map(" ".join, itertools.pairwise(said))):
                found_NE[row, zlib.crc32(term.encode()) % BUCKETS] += 1
    found_NE /= np.maximum(np.linalg.norm(found_NE, axis=1, keepdims=True), np.float32(1e-9))
    return found_NE


def _shift(
    old: Sequence[Seen], new: Sequence[Seen], fresh: Sequence[Seen], embed: Callable[[Sequence[Seen]], Embedded]
) -> Shift:
    rng = np.random.default_rng(0)
    a, b = ([group[place] for place in rng.permutation(len(group))[:POOL]] for group in (old, new))
    x_NE, y_ME = embed(a), embed(b)
    within_NN, within_MM, across_NM = _distances(x_NE, x_NE), _distances(y_ME, y_ME), _distances(x_NE, y_ME)
    rows = {one.key: row for row, one in enumerate(a)}
    for column, one in enumerate(b):
        if (row := rows.get(one.key)) is not None:  # a sample that stayed is no pair with itself
            across_NM[row, column] = np.nan
    n = min(len(a) // 2, len(b))
    distances, chances = [], []
    for _ in range(DRAWS):
        first, second = np.split(rng.permutation(len(a))[: 2 * n], 2)
        other = rng.permutation(len(b))[:n]
        one, two = _within(within_NN, first), _within(within_NN, second)
        chances.append(2 * float(within_NN[np.ix_(first, second)].mean()) - one - two)
        across = float(np.nanmean(across_NM[np.ix_(first, other)]))
        distances.append(2 * across - one - _within(within_MM, other))
    return Shift(n, _bounds(distances), _bounds(chances), _foreign(old, fresh, embed, rng))


def _within(distances: NDArray[np.float32], places: NDArray[np.int64]) -> float:
    """Mean distance between samples of one draw."""
    return float(distances[np.ix_(places, places)].sum() / (len(places) * (len(places) - 1)))


def _bounds(draws: Sequence[float]) -> tuple[float, float, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(np.mean(draws)), float(low), float(high)


def _foreign(
    old: Sequence[Seen], fresh: Sequence[Seen], embed: Callable[[Sequence[Seen]], Embedded], rng: np.random.Generator
) -> list[tuple[str, float, str]]:
    """Of the new samples that are far from some of the old version, those that are far from all of it."""
    if not fresh:
        return []
    some = [old[place] for place in rng.permutation(len(old))[:REFERENCE]]
    first_N, _ = _nearest(embed(fresh), embed(some))
    far = [fresh[place] for place in np.argsort(-first_N, kind="stable")[: 10 * FOREIGN]]
    nearest_N, places_N = _nearest(embed(far), embed(old))
    order = np.argsort(-nearest_N, kind="stable")[:FOREIGN]
    return [(far[place].key, float(nearest_N[place]), old[places_N[place]].key) for place in order]


def _nearest(x_NE: Embedded, y_ME: Embedded) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Distance of each row to the nearest of the others, and which that is."""
    least, places = [], []
    for start in range(0, len(x_NE), 256):
        distances = _distances(x_NE[start : start + 256], y_ME)
        least.append(distances.min(1))
        places.append(distances.argmin(1))
    return np.concatenate(least), np.concatenate(places)


def _distances(x_NE: Embedded, y_ME: Embedded) -> NDArray[np.float32]:
    squares_NM = (x_NE**2).sum(1)[:, None] + (y_ME**2).sum(1) - 2 * (x_NE @ y_ME.T)
    if x_NE is y_ME:
        np.fill_diagonal(squares_NM, 0)
    found: NDArray[np.float32] = np.sqrt(np.maximum(squares_NM, 0))
    return found
