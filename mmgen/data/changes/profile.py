"""What a data set looks like in a few kilobytes, and how far two such profiles are apart.

A profile is kept with every validation, so that new data can be held against those of the champion when these are no
longer at hand. Shares (groups, words, lengths) are compared by the Jensen-Shannon distance (Endres and Schindelin 2003,
doi:10.1109/TIT.2003.813506; 0 the same, 1 nothing in common), pictures by the Frechet distance of Gaussians in coarse
colours, in units of the first one's variance, counts by how much a split grew or shrank.

Distances between finite samples are above 0 when nothing has changed; `halves` says what two halves of the same data
give, and larger sets give less.

Shapes here: N pictures, F coarse colours.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgen.data.changes.near_duplicates import THUMBNAIL

MEASURES = {
    "counts": "samples of a split, more or fewer by this share",
    "groups": "shares of the groups, training samples",
    "words": "words of the captions, training samples",
    "lengths": "words a caption, training samples",
    "durations": "lengths of sounds, videos and tunes, training samples",
    "pictures": "coarse colours of the pictures, training samples",
}
"""What can shift -> in words."""

WORDS = 5000
"""Most frequent words that are kept; the others are counted together."""
COARSE = 4
"""A picture is this many cells wide and high when its colours are compared."""
_WORD = re.compile(r"\w[\w'-]*")


def profile(rows: Sequence[Mapping[str, Any]], language: str) -> dict[str, Any]:
    """Profile of a data set.

    Args:
        rows: one a sample (`mmgen.ops.validation.tables.describe`).
        language: of the captions.
    """
    whole = _profile(rows, language)
    return whole | {"halves": shifts(_profile(rows[::2], language), _profile(rows[1::2], language))}


def shifts(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, float]:
    """How far `now` is from `before`, by measure; what neither has is left out.

    >>> shifts({"counts": {"train": 10}, "words": {"a": 1}}, {"counts": {"train": 15}, "words": {"b": 1}})
    {'counts': 0.5, 'words': 1.0}
    """
    found = {"counts": _growth(before["counts"], now["counts"])}
    for name in ("groups", "words", "lengths", "durations"):
        a, b = before.get(name) or {}, now.get(name) or {}
        if a or b:
            found[name] = _divergence(a, b) if a and b else 1.0
    a, b = before.get("pictures") or {}, now.get("pictures") or {}
    if a and b:
        found["pictures"] = _frechet(a, b)
    elif a or b:
        found["pictures"] = 1e9  # one of the two has no pictures at all
    return found


def _profile(rows: Sequence[Mapping[str, Any]], language: str) -> dict[str, Any]:
    train = [row for row in rows if row["split"] == "train"]
    captions = [row.get(f"caption_{language}") for row in train]
    texts = [_WORD.findall(caption.lower()) for caption in captions if isinstance(caption, str)]
    words = Counter(word for text in texts for word in text)
    frequent = sorted(words.items(), key=lambda pair: (-pair[1], pair[0]))
    kept = dict(frequent[:WORDS])
    if rest := sum(count for _, count in frequent[WORDS:]):
        kept[""] = rest
    durations = [value for row in train for name, value in row.items() if name.endswith("_length") and value]
    return {
        "counts": dict(sorted(Counter(row["split"] for row in rows).items())),
        "groups": dict(sorted(Counter(row["group"] or "" for row in train).items())),
        "words": kept,
        "lengths": dict(sorted(Counter(str(min(len(text), 50)) for text in texts).items())),
        # In steps of a quarter of an octave.
        "durations": dict(sorted(Counter(str(round(4 * math.log2(value))) for value in durations).items())),
        "pictures": _colours([row["thumbnail"] for row in train if row.get("thumbnail") is not None]),
    }


def _colours(thumbnails: Sequence[NDArray[np.uint8]]) -> dict[str, Any]:
    """Mean and covariance of the coarse colours; nothing where there are too few pictures."""
    if len(thumbnails) < 2:
        return {}
    cell = THUMBNAIL // COARSE
    pictures = np.stack(thumbnails).reshape(-1, COARSE, cell, COARSE, cell, 3) / 255
    coarse_NF = pictures.mean((2, 4)).reshape(len(pictures), -1)
    covariance_FF = np.cov(coarse_NF, rowvar=False)
    return {"mean": coarse_NF.mean(0).round(6).tolist(), "covariance": covariance_FF.round(8).tolist()}


def _growth(before: Mapping[str, int], now: Mapping[str, int]) -> float:
    """Largest share by which a split grew, or would have to grow to be what it was."""
    pairs = [(before.get(split, 0) + 1e-9, now.get(split, 0) + 1e-9) for split in {*before, *now}]
    return round(max((max(a / b, b / a) - 1 for a, b in pairs), default=0.0), 6)


def _divergence(before: Mapping[str, int], now: Mapping[str, int]) -> float:
    """Jensen-Shannon distance of two counts, to base 2."""
    totals = sum(before.values()), sum(now.values())
    found = 0.0
    for name in sorted({*before, *now}):  # in one order: sums of floats depend on it
        p, q = before.get(name, 0) / totals[0], now.get(name, 0) / totals[1]
        middle = (p + q) / 2
        found += sum(share * math.log2(share / middle) / 2 for share in (p, q) if share)
    return round(math.sqrt(max(0.0, found)), 6)


def _frechet(before: Mapping[str, Any], now: Mapping[str, Any]) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) over tr(C1) (Heusel et al. 2017, arXiv:1706.08500, eq. 6)."""
    (m1, c1), (m2, c2) = ((np.array(x["mean"]), np.array(x["covariance"])) for x in (before, now))
    roots = np.sqrt(np.clip(np.linalg.eigvals(c1 @ c2).real, 0, None)).sum()
    distance = np.square(m1 - m2).sum() + np.trace(c1) + np.trace(c2) - 2 * roots
    return round(max(0.0, float(distance)) / max(float(np.trace(c1)), 1e-9), 6)


def worst_words(before: Mapping[str, Any], now: Mapping[str, Any], most: int = 12) -> list[tuple[str, float, float]]:
    """Words whose share changed most, each with the share before and now."""
    a, b = before.get("words") or {}, now.get("words") or {}
    if not a or not b:
        return []
    totals = sum(a.values()), sum(b.values())
    shares: Iterable[tuple[str, float, float]] = (
        (word, a.get(word, 0) / totals[0], b.get(word, 0) / totals[1]) for word in sorted({*a, *b} - {""})
    )
    return sorted(shares, key=lambda share: -abs(share[1] - share[2]))[:most]
