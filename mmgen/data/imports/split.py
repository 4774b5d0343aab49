"""Which split each sample belongs to: whole groups, and nothing that is nearly the same on both sides.

Samples of one group, with the same bytes, or with nearly the same picture are one family. Where the owner named splits
they hold, and training samples that have family in a held-out split are left out; else families are dealt out.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from mmgen.data.changes.near_duplicates import pairs
from mmgen.data.imports.entry import Entry
from mmgen.data.imports.look import Look
from mmgen.data.limits import SPLIT_MINIMUM
from mmgen.errors import DataError, unknown

SHARES = {"test": 0.1, "judge": 0.2}
LARGEST = 2000
"""Most samples of a held-out split."""
NAMED = {
    "train": "train",
    "training": "train",
    "validation": "judge",
    "valid": "judge",
    "val": "judge",
    "dev": "judge",
    "test": "test",
}
"""What people call splits -> what they are here: judges learn from validation data."""


def families(entries: Sequence[Entry], looks: Sequence[Look]) -> list[int]:
    """For each entry a number that it shares with its family."""
    owner = list(range(len(entries)))

    def find(place: int) -> int:
        while owner[place] != place:
            owner[place] = owner[owner[place]]
            place = owner[place]
        return place

    first: dict[object, int] = {}
    for place, (entry, look) in enumerate(zip(entries, looks, strict=True)):
        for name in (("group", entry.group) if entry.group is not None else None, *look.digests.values()):
            if name is not None:
                owner[find(place)] = find(first.setdefault(name, place))
    pictured = [place for place, look in enumerate(looks) if look.thumbnail is not None]
    if pictured:
        thumbnails = np.stack([np.frombuffer(looks[place].thumbnail or b"", np.uint8) for place in pictured])
        for a, b in pairs(thumbnails):
            owner[find(pictured[b])] = find(pictured[a])
    return [find(place) for place in range(len(entries))]


def concepts(entries: Sequence[Entry], family: Sequence[int]) -> list[str | None]:
    """A name that the members of each family share; None for an entry without family."""
    members: dict[int, list[str]] = defaultdict(list)
    for entry, number in zip(entries, family, strict=True):
        members[number].append(entry.name)
    names = {number: hashlib.sha256(min(of).encode()).hexdigest()[:10] for number, of in members.items() if len(of) > 1}
    return [f"family-{names[number]}" if number in names else None for number in family]


def assign(entries: Sequence[Entry], family: Sequence[int]) -> list[str | None]:
    """The split of each entry; None for a training sample that a held-out one would give away.

    Raises:
        DataError: an unknown split, or too few samples for three splits.
    """
    named = [_named(entry.split) for entry in entries]
    splits: list[str | None] = list(named)
    members: dict[int, list[int]] = defaultdict(list)
    for place, number in enumerate(family):
        members[number].append(place)
    for places in members.values():
        if held := sorted({split for place in places if (split := named[place]) in SHARES}, reverse=True):
            for place in places:  # test before judge before train
                splits[place] = None if named[place] not in (held[0], None) else held[0]
    for split in SHARES:
        if split not in named:
            deal(split, splits, entries, members, least=SPLIT_MINIMUM)
    splits = ["train" if split is None and named[place] is None else split for place, split in enumerate(splits)]
    for split in ("train", *SHARES):
        if (count := splits.count(split)) < SPLIT_MINIMUM:
            raise DataError(
                f"split {split!r} would have {count} samples that nothing else gives away; want {SPLIT_MINIMUM}: "
                "give more data, or larger splits of your own"
            )
    return splits


def _named(split: str | None) -> str | None:
    if split is None:
        return None
    if split.lower() not in NAMED:
        raise DataError(unknown("split", split, NAMED))
    return NAMED[split.lower()]


def deal(
    split: str, splits: list[str | None], entries: Sequence[Entry], members: dict[int, list[int]], *, least: int
) -> None:
    """Move whole families from train to `split` until it has its share, in an order that depends on names alone.

    Args:
        split: one of SHARES.
        splits: of all entries; changed here.
        entries: all of them.
        members: places of each family.
        least: samples that the split gets in any case.
    """
    free = {
        number: places
        for number, places in members.items()
        if all(splits[place] in (None, "train") for place in places)
    }
    total = sum(map(len, members.values()))
    wanted = min(LARGEST, max(least, round(SHARES[split] * total)))
    order = sorted(
        free.values(), key=lambda places: hashlib.sha256(min(entries[place].name for place in places).encode()).digest()
    )
    count = 0
    for places in order:
        if count >= wanted:
            break
        if len(places) <= max(1, wanted // 4):  # one large family would fill a split with one thing
            count += len(places)
            for place in places:
                splits[place] = split
