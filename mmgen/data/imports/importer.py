"""Import data of somebody's own: find the layout, look at every file once, deal out splits, write shards and a card.

Files are looked at on all cores, in processes, so that one that kills its reader ends nothing else. Nothing but names,
sizes, hashes and thumbnails stays in memory. The data set appears whole or not at all.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mmgen.data.changes.scans import keep
from mmgen.data.config import NAME
from mmgen.data.dataset import Card, data_version
from mmgen.data.imports.entry import Refused
from mmgen.data.imports.gather import Gathered, Import, layout_of, listed, usable, write_report
from mmgen.data.imports.look import look_at
from mmgen.data.imports.split import assign, concepts, families
from mmgen.data.imports.write import Dealt, md5s, write_splits
from mmgen.data.shards import Shard
from mmgen.data.sources.build import NAMES as BUILT
from mmgen.data.worker_pool import Crew
from mmgen.errors import ConfigError, StorageError
from mmgen.files import refusal
from mmgen.modalities import NAMES
from mmgen.progress import Progress


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What came of it."""

    folder: Path
    version: str
    samples: dict[str, int]
    """New ones by split."""
    refused: list[Refused]
    """Could not be used."""
    left_out: list[Refused]
    """Could be used, but would give away samples of a held-out split, or are there already."""
    report: Path
    """Lists both."""


def import_data(asked: Import, root: Path, progress: Progress, workers: int) -> Imported:
    """Import `asked.folder` as `<root>/<name>`; what was left out is listed in `<root>/<name>.import.json`.

    Raises:
        ConfigError: no such folder or layout, a column that is not there, a name that is taken or cannot be one.
        DataError: more samples are bad than the budget allows, or too few are good.
        StorageError: `root` cannot be written.
    """
    target, report = root / asked.name, root / f"{asked.name}.import.json"
    _check_name(asked.name, target)
    layout = layout_of(asked)
    with Crew(workers) as crew:
        crew.begin(look_at)
        there = listed(asked)
        with _whole(target) as scratch, crew:  # the crew ends first: what failed is removed when nobody writes
            found = usable(asked, there, crew, progress, report)
            family = families(found.entries, found.looks)
            splits = assign(found.entries, family)
            left_out = [
                Refused(entry.name, "nearly the same as a sample of a held-out split, or of its group")
                for entry, split in zip(found.entries, splits, strict=True)
                if split is None
            ]
            write_report(report, found.refused, left_out)
            dealt = Dealt(found.entries, found.looks, splits, concepts(found.entries, family))
            written, seen = write_splits(scratch, crew, dealt, progress, {})
            card = _card(asked, layout, found, {split: [one.shard for one in of] for split, of in written.items()})
            card.save(scratch)
    keep(target, seen)
    return Imported(
        folder=target,
        version=data_version(target, md5s(written)),
        samples={split: card.count(split) for split in card.splits},
        refused=found.refused,
        left_out=left_out,
        report=report,
    )


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A folder that becomes `target` when all went well, and is removed else."""
    scratch = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        scratch.mkdir(parents=True)
        yield scratch
        scratch.rename(target)
    except OSError as error:
        raise StorageError(refusal(target, error)) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_name(name: str, target: Path) -> None:
    if not NAME.fullmatch(name):
        raise ConfigError(f"name {name!r}: use 2 to 32 small letters, digits and '_', a letter first")
    if name in BUILT:
        raise ConfigError(f"name {name!r} is that of a data set that `mmgen data build` makes; choose another")
    if target.exists():
        raise ConfigError(f"{str(target)!r} is there already; choose another --name, or remove it")


def _card(asked: Import, layout: str, found: Gathered, shards: dict[str, list[Shard]]) -> Card:
    modalities = {*found.looks[0].parts, *(["text"] if found.entries[0].captions else [])}
    return Card(
        name=asked.name,
        title=asked.title or f"Imported from a {layout} layout",
        licences=[
            {
                "what": asked.name,
                "licence": asked.licence or "not stated",
                "credit": asked.credit or "not stated",
                "url": asked.url,
            }
        ],
        modalities=[name for name in NAMES if name in modalities],
        languages=sorted(found.entries[0].captions),
        splits=shards,
        sources=[],
    )
