"""Pictures that are nearly the same, found among tens of thousands in seconds, none missed.

Of each thumbnail only the slow waves are compared first (Ahmed et al. 1974, doi:10.1109/T-C.1974.223784, eq. 6). They
carry most of what differs between pictures, and a distance in them is never larger than the whole one, so pairs that
are far apart in them need no second look. The mixture of these waves that varies most puts the pictures in a line:
those too far apart on it need no look at all.

Shapes here: N and M pictures, P numbers of a thumbnail, Q of its slow waves.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mmgen.data.limits import NEAR

Thumbnails = NDArray[np.uint8]
THUMBNAIL = 16
"""Side of a thumbnail, which is (16, 16, 3) uint8, flat."""
WAVES = 4
CHUNK = 256
"""Pictures that are compared with all others at once: bounds memory."""


def pairs(a_NP: Thumbnails, b_MP: Thumbnails | None = None) -> Iterator[tuple[int, int]]:
    """(row of a, row of b) of all pictures nearer than NEAR, in no order to rely on.

    Within `a`, each pair once, the lower row first, when `b` is not given.
    """
    within = b_MP is None
    other_MP = a_NP if b_MP is None else b_MP
    if not len(a_NP) or not len(other_MP):
        return
    a_NQ, b_MQ = waves(a_NP), waves(other_MP)
    limit = np.float32(NEAR**2 * a_NP.shape[1] * 1.001)
    centred_MQ = b_MQ - b_MQ.mean(0)
    line_Q = np.linalg.eigh(centred_MQ.T @ centred_MQ)[1][:, -1]
    order_N, order_M = (np.argsort(x_NQ @ line_Q, kind="stable") for x_NQ in (a_NQ, b_MQ))
    a_NP, other_MP, a_NQ, b_MQ = a_NP[order_N], other_MP[order_M], a_NQ[order_N], b_MQ[order_M]
    at_N, at_M, reach = a_NQ @ line_Q, b_MQ @ line_Q, np.sqrt(limit)
    # |a - b|^2 < limit, as a.b - |b|^2 / 2 > (|a|^2 - limit) / 2: the left side is one product, and few rows exceed.
    least_N = ((a_NQ**2).sum(1) - limit) / 2
    a_NQ = np.concatenate([a_NQ, np.ones((len(a_NQ), 1), np.float32)], 1)
    b_MQ = np.concatenate([b_MQ, -(b_MQ**2).sum(1, keepdims=True) / 2], 1)
    for start in range(0, len(a_NQ), CHUNK):
        chunk = slice(start, start + CHUNK)
        first = start if within else int(np.searchsorted(at_M, at_N[start] - reach))
        last = int(np.searchsorted(at_M, at_N[chunk][-1] + reach, side="right"))
        product = a_NQ[chunk] @ b_MQ[first:last].T
        if within:
            np.fill_diagonal(product, -np.inf)
        least = least_N[chunk]
        for row in np.flatnonzero(product.max(1, initial=-np.inf) > least):
            one = start + int(row)
            places = first + np.flatnonzero(product[row] > least[row])
            if within:
                places = places[places > one]
            squares = np.square(a_NP[one].astype(np.float32) - other_MP[places]).sum(1)
            for place in places[squares < np.float32(NEAR**2 * a_NP.shape[1])]:
                found = (int(order_N[one]), int(order_M[place]))
                yield (min(found), max(found)) if within else found


def waves(thumbnails_NP: Thumbnails) -> NDArray[np.float32]:
    """(N, Q) slow waves of thumbnails: a distance in them is at most that of the thumbnails."""
    found: NDArray[np.float32] = (thumbnails_NP.astype(np.float32) - 128) @ _waves()
    return found


@cache
def _waves() -> NDArray[np.float32]:
    """Orthonormal columns (P, Q): the cosine waves of a thumbnail with at most WAVES half-turns each way, by colour."""
    places, order = np.arange(THUMBNAIL) + 0.5, np.arange(WAVES)
    wave = np.cos(np.pi * places[:, None] * order / THUMBNAIL)
    wave /= np.sqrt((wave**2).sum(0))
    return np.ascontiguousarray(np.kron(np.kron(wave, wave), np.eye(3)), np.float32)
