"""What changed from one data set to another: samples, captions, pictures, embeddings, copies, leaks.

Shards that both have byte by byte, or that were looked at before, are checked by their sha256 alone; pictures are
compared by thumbnails, all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgen.data.changes.near_duplicates import pairs
from mmgen.data.changes.scans import Seen, keep, kept, see
from mmgen.data.changes.shift import Shift, shifts
from mmgen.data.dataset import load
from mmgen.data.words import words
from mmgen.data.worker_pool import Crew
from mmgen.progress import Progress


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed."""

    splits: dict[str, tuple[int, int]]
    """Samples before and after."""
    added: list[Seen]
    removed: list[Seen]
    changed: list[Seen]
    """Other media under the same key, as they are now."""
    moved: list[tuple[Seen, Seen]]
    """In another split."""
    retold: list[tuple[Seen, Seen]]
    """With another caption."""
    new_words: list[str]
    """Words of captions that came first with this version, the most frequent first."""
    copies: list[tuple[Seen, Seen]]
    """Added samples that show nearly the same as one that was there."""
    leaks: list[tuple[Seen, Seen]]
    """Pictures that two splits now share, nearly or wholly."""
    shifts: dict[str, Shift]
    """How far pictures and captions moved as a whole."""


def difference(before: Path, after: Path, progress: Progress, workers: int) -> Difference:
    """Compare two data sets.

    Raises:
        DataError: either is not whole.
    """
    old, new = load(before), load(after)
    with Crew(workers) as crew:
        known = kept(before) | kept(after)
        there = see(old, known, crew, progress)
        here = see(new, known | there, crew, progress)
    if not known.keys() >= there.keys() | here.keys():
        keep(after, there | here)
    # Shards come in the order in which their readers end: what is said of them must not depend on it.
    a, b = (
        {seen.key: seen for seen in sorted((s for of in shards.values() for s in of), key=lambda seen: seen.key)}
        for shards in (there, here)
    )
    both = [(a[key], b[key]) for key in sorted(a.keys() & b.keys())]
    added = [b[key] for key in sorted(b.keys() - a.keys())]
    changed = [now for was, now in both if was.digest != now.digest]
    return Difference(
        splits={
            split: tuple(  # type: ignore[misc]  # of two
                card.count(split) if split in card.splits else 0 for card in (old.card, new.card)
            )
            for split in dict.fromkeys([*old.card.splits, *new.card.splits])
        },
        added=added,
        removed=[a[key] for key in sorted(a.keys() - b.keys())],
        changed=changed,
        moved=[(was, now) for was, now in both if was.split != now.split],
        retold=[(was, now) for was, now in both if was.captions != now.captions],
        new_words=_new_words(a.values(), b.values()),
        copies=_near(added, list(a.values())),
        leaks=_leaks(list(b.values())),
        shifts=shifts(list(a.values()), list(b.values()), added + changed),
    )


def _new_words(before: Any, after: Any) -> list[str]:
    def counts(samples: Any) -> dict[str, int]:
        found: dict[str, int] = {}
        for seen in samples:
            for caption in seen.captions.values():
                for word in words(caption):
                    found[word] = found.get(word, 0) + 1
        return found

    old, new = counts(before), counts(after)
    return sorted((word for word in new if word not in old), key=lambda word: (-new[word], word))


def _near(these: Sequence[Seen], those: Sequence[Seen]) -> list[tuple[Seen, Seen]]:
    """Pairs of these and those that show nearly the same; of each of these the first."""
    a, b = ([seen for seen in group if seen.thumbnail is not None] for group in (these, those))
    if not a or not b:
        return []
    found: dict[int, int] = {}
    for one, two in sorted(pairs(_stacked(a), _stacked(b))):
        found.setdefault(one, two)
    return [(a[one], b[two]) for one, two in found.items()]


def _leaks(samples: Sequence[Seen]) -> list[tuple[Seen, Seen]]:
    pictured = [seen for seen in samples if seen.thumbnail is not None]
    if not pictured:
        return []
    found = ((pictured[a], pictured[b]) for a, b in sorted(pairs(_stacked(pictured))))
    return [(one, two) for one, two in found if one.split != two.split]


def _stacked(samples: Sequence[Seen]) -> NDArray[np.uint8]:
    return np.stack([seen.thumbnail for seen in samples if seen.thumbnail is not None])
