"""What changed from one data set to another: samples, captions, pictures, copies, leaks.

Shards that both have byte by byte are compared by their sha256 alone; pictures are compared by thumbnails, all of them.

Shapes here: N and M pictures, P numbers of a thumbnail.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgen.data.alike import pairs
from mmgen.data.dataset import Dataset, load
from mmgen.data.imports.crew import Crew
from mmgen.data.imports.look import look_at_parts
from mmgen.data.shards import Shard, read_shard
from mmgen.progress import Progress

_WORD = re.compile(r"\w[\w'-]*")


@dataclass(frozen=True, slots=True)
class Seen:
    """One sample of either data set."""

    key: str
    split: str
    digest: bytes
    """Of its media."""
    captions: Mapping[str, str]
    thumbnail: NDArray[np.uint8] | None


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


def difference(before: Path, after: Path, progress: Progress, workers: int) -> Difference:
    """Compare two data sets.

    Raises:
        DataError: either is not whole.
    """
    old, new = load(before), load(after)
    with Crew(workers) as crew:
        there = _seen(old, {}, crew, progress)
        known = {shard.sha256: there[shard.sha256] for shards in old.card.splits.values() for shard in shards}
        here = _seen(new, known, crew, progress)
    a = {seen.key: seen for samples in there.values() for seen in samples}
    b = {seen.key: seen for samples in here.values() for seen in samples}
    both = [(a[key], b[key]) for key in sorted(a.keys() & b.keys())]
    added = [b[key] for key in sorted(b.keys() - a.keys())]
    return Difference(
        splits={
            split: tuple(  # type: ignore[misc]  # of two
                card.count(split) if split in card.splits else 0 for card in (old.card, new.card)
            )
            for split in dict.fromkeys([*old.card.splits, *new.card.splits])
        },
        added=added,
        removed=[a[key] for key in sorted(a.keys() - b.keys())],
        changed=[now for was, now in both if was.digest != now.digest],
        moved=[(was, now) for was, now in both if was.split != now.split],
        retold=[(was, now) for was, now in both if was.captions != now.captions],
        new_words=_new_words(a.values(), b.values()),
        copies=_near(added, list(a.values())),
        leaks=_leaks(list(b.values())),
    )


def _seen(dataset: Dataset, known: Mapping[str, list[Seen]], crew: Crew, progress: Progress) -> dict[str, list[Seen]]:
    """Samples by the sha256 of their shard; those of `known` shards are taken from there."""
    tasks = [
        [(dataset.folder, split, shard)]
        for split, shards in dataset.card.splits.items()
        for shard in shards
        if shard.sha256 not in known
    ]
    listed = {shard.sha256 for shards in dataset.card.splits.values() for shard in shards}
    found = {sha256: samples for sha256, samples in known.items() if sha256 in listed}
    progress.start(f"read {dataset.folder.name}", len(tasks), "shards")
    for count, (place, (samples,)) in enumerate(crew.map(see_shards, tasks), 1):
        found[tasks[place][0][2].sha256] = samples
        progress.update(count)
    progress.done()
    return found


def see_shards(tasks: Sequence[tuple[Path, str, Shard]]) -> list[list[Seen]]:
    """The samples of each shard."""
    found = []
    for folder, split, shard in tasks:
        samples = []
        for sample in read_shard(folder / shard.file, shard):
            look = look_at_parts(sample.parts)
            digest = hashlib.sha256(b"".join(look.digests[ending] for ending in sorted(look.digests))).digest()
            thumbnail = None if look.thumbnail is None else np.frombuffer(look.thumbnail, np.uint8)
            samples.append(Seen(sample.key, split, digest, dict(sample.facts().get("captions", {})), thumbnail))
        found.append(samples)
    return found


def _new_words(before: Any, after: Any) -> list[str]:
    def counts(samples: Any) -> dict[str, int]:
        found: dict[str, int] = {}
        for seen in samples:
            for caption in seen.captions.values():
                for word in _WORD.findall(str(caption).lower()):
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
    for one, two in pairs(_stacked(a), _stacked(b)):
        found.setdefault(one, two)
    return [(a[one], b[two]) for one, two in found.items()]


def _leaks(samples: Sequence[Seen]) -> list[tuple[Seen, Seen]]:
    pictured = [seen for seen in samples if seen.thumbnail is not None]
    if not pictured:
        return []
    found = ((pictured[a], pictured[b]) for a, b in pairs(_stacked(pictured)))
    return [(one, two) for one, two in found if one.split != two.split]


def _stacked(samples: Sequence[Seen]) -> NDArray[np.uint8]:
    return np.stack([seen.thumbnail for seen in samples if seen.thumbnail is not None])
