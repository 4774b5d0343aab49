"""The next version of an imported data set: what is there stays byte by byte where it is, new samples come beside it.

A new sample that has family in the data set (its group, the same bytes, nearly the same picture) goes to the split of
the family; the others are dealt out in the same shares.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from mmgen.data.changes.scans import keep, kept
from mmgen.data.dataset import CARD, Dataset, data_version, load
from mmgen.data.imports.entry import Entry, Refused
from mmgen.data.imports.gather import Gathered, Import, listed, usable, write_report
from mmgen.data.imports.importer import Imported
from mmgen.data.imports.look import Look, look_at_parts
from mmgen.data.imports.split import concepts, deal, families
from mmgen.data.imports.write import Dealt, md5s, write_splits
from mmgen.data.shards import Shard, read_shard
from mmgen.data.worker_pool import Crew
from mmgen.errors import ConfigError, DataError
from mmgen.progress import Progress

Known = tuple[Entry, Look, str]
"""A sample that is there: what it is, how it looks, its key."""


def add_data(asked: Import, root: Path, progress: Progress, workers: int) -> Imported:
    """Add what is in `asked.folder` to `<root>/<name>`; the card is written last, so a killed addition adds nothing.

    Raises:
        ConfigError: the data set was not imported, or has other modalities or languages than the new samples.
        DataError: the data set is altered, more samples are bad than the budget allows, or none is new.
        StorageError: `root` cannot be written.
    """
    target, report = root / asked.name, root / f"{asked.name}.import.json"
    dataset = load(target)
    if dataset.card.sources:
        raise ConfigError(f"{str(target)!r} is built from packages and stays as it is; import yours under another name")
    there = listed(asked)
    _sweep(dataset)
    dataset.verify()
    with Crew(workers) as crew:
        found = usable(asked, there, crew, progress, report)
        _check_same_kind(dataset, found)
        known = _known(dataset, crew, progress)
        entries = [*(entry for entry, _, _ in known), *found.entries]
        looks = [*(look for _, look, _ in known), *found.looks]
        family = families(entries, looks)
        splits, reasons = _deal(entries, looks, family, len(known))
        left_out = [Refused(entries[place].name, reason) for place, reason in reasons.items()]
        write_report(report, found.refused, left_out)
        if not any(splits[len(known) :]):
            raise DataError(f"nothing in {str(asked.folder)!r} is new to {str(target)!r}; see {str(report)!r}")
        # A family that is there keeps its name.
        names = {family[place]: entry.label for place, (entry, _, _) in enumerate(known)}
        own = concepts(entries, family)
        shared = [names.get(number, name) for number, name in zip(family, own, strict=True)]
        fresh = Dealt(
            found.entries, found.looks, splits[len(known) :], shared[len(known) :], {key for _, _, key in known}
        )
        written, seen = write_splits(target, crew, fresh, progress, dataset.card.splits)
    shards = {split: [one.shard for one in of] for split, of in written.items()}
    card = dataclasses.replace(
        dataset.card,
        splits={split: [*old, *shards.get(split, [])] for split, old in dataset.card.splits.items()},
        licences=_licences(dataset, asked),
    )
    card.save(target)
    keep(target, kept(target) | seen)
    samples = {split: sum(shard.samples for shard in new) for split, new in shards.items()}
    version = data_version(target, md5s(written))
    return Imported(
        folder=target, version=version, samples=samples, refused=found.refused, left_out=left_out, report=report
    )


def _sweep(dataset: Dataset) -> None:
    """Remove shards that an addition which was killed has left: the card does not list them."""
    listed = {CARD, *(shard.file for shards in dataset.card.splits.values() for shard in shards)}
    for path in dataset.folder.iterdir():
        split, _, number = path.stem.rpartition("-")
        if path.name not in listed and path.suffix == ".tar" and split in dataset.card.splits and number.isdigit():
            path.unlink()


def _check_same_kind(dataset: Dataset, found: Gathered) -> None:
    ours = ({*dataset.card.modalities} - {"text"}, {*dataset.card.languages})
    theirs = ({*found.entries[0].media}, {*found.entries[0].captions})
    if ours != theirs:
        said = [
            " and ".join([*sorted(kind[0]), *(f"text in {code}" for code in sorted(kind[1]))])
            for kind in (ours, theirs)
        ]
        raise ConfigError(f"{str(dataset.folder)!r} has {said[0]}, the new samples have {said[1]}")


def _known(dataset: Dataset, crew: Crew, progress: Progress) -> list[Known]:
    """Every sample that is there."""
    tasks = [[(dataset.folder, split, shard)] for split, shards in dataset.card.splits.items() for shard in shards]
    progress.start("compare", len(tasks), "shards")
    found: dict[int, list[Known]] = {}
    for place, (samples,) in crew.map(look_at_shards, tasks):
        found[place] = samples
        progress.update(len(found))
    progress.done()
    return [known for place in sorted(found) for known in found[place]]


def look_at_shards(tasks: Sequence[tuple[Path, str, Shard]]) -> list[list[Known]]:
    """What is in each shard."""
    return [
        [
            (
                Entry(sample.key, {}, {}, split, _text(facts.get("family")), _text(facts.get("concept"))),
                look_at_parts(sample.parts),
                sample.key,
            )
            for sample in read_shard(folder / shard.file, shard)
            for facts in [sample.facts()]
        ]
        for folder, split, shard in tasks
    ]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _deal(
    entries: Sequence[Entry], looks: Sequence[Look], family: Sequence[int], known: int
) -> tuple[list[str | None], dict[int, str]]:
    """Splits of all entries, and for each new one that is left out the reason; the first `known` are there already."""
    splits: list[str | None] = [entry.split if place < known else None for place, entry in enumerate(entries)]
    there = {digest for look in looks[:known] for digest in look.digests.values()}
    homes: dict[int, set[str | None]] = {}
    for place in range(known):
        homes.setdefault(family[place], set()).add(splits[place])
    reasons: dict[int, str] = {}
    new: dict[int, list[int]] = {}
    for place in range(known, len(entries)):
        home = homes.get(family[place], set())
        if looks[place].digests and there.issuperset(looks[place].digests.values()):
            reasons[place] = "is there already, byte by byte"
        elif len(home) > 1:
            reasons[place] = "would join samples that lie in different splits"
        elif home:
            splits[place] = next(iter(home))
        else:
            splits[place] = "train"
            new.setdefault(family[place], []).append(place)
    for split in sorted({split for home in homes.values() for split in home if split != "train"}, key=str):
        deal(str(split), splits, entries, new, least=0)
    return splits, reasons


def _licences(dataset: Dataset, asked: Import) -> list[dict[str, str]]:
    more = {"what": f"{asked.name}, added", "licence": asked.licence, "credit": asked.credit, "url": asked.url}
    return [*dataset.card.licences, *([more] if asked.licence else [])]
