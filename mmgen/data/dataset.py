"""A data set on disk: a folder with its card `dataset.json` and the shards that the card lists.

The card holds the sha256 of every shard; `data_version` names the whole folder by the hash that DVC gives it, so
that one id is the same in `data.dvc`, in MLflow and in every sealed folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgen.data.shards import Sample, Shard, read_shard
from mmgen.errors import DataError, unknown
from mmgen.files import write_json
from mmgen.modalities import NAMES
from mmgen.modalities.text import bad_character
from mmgen.untrusted import read_plain

CARD = "dataset.json"
SCHEMA = 1
MAX_CARD_BYTES = 16 * 2**20
MAX_TEXT = 2000
"""Longest text on a card in characters."""

_SPLIT = re.compile(r"[a-z][a-z0-9_]{0,31}")
_FILE = re.compile(r"[a-z][a-z0-9_]{0,31}-[0-9]{5}\.tar")


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a data set says of itself."""

    name: str
    title: str
    licences: list[dict[str, str]]
    """Each with `what`, `licence`, `credit` and `url`."""
    modalities: list[str]
    languages: list[str]
    splits: dict[str, list[Shard]]
    sources: list[dict[str, str]]
    """Packages that it was cut from, each with `package`, `version` and `sha256`; empty for imported data."""

    def count(self, split: str) -> int:
        """Samples of a split."""
        return sum(shard.samples for shard in self.splits[split])

    def save(self, folder: Path) -> None:
        """Write `dataset.json`, whole or not at all."""
        value = dataclasses.asdict(self) | {"schema": SCHEMA}
        value["splits"] = {
            split: {"samples": self.count(split), "shards": shards} for split, shards in value["splits"].items()
        }
        write_json(folder / CARD, value)


@dataclass(frozen=True)
class Dataset:
    """A loaded card and the folder that it lies in."""

    folder: Path
    card: Card

    def split(self, name: str) -> list[Sample]:
        """All samples of a split in the order of their keys; every shard's sha256 is checked on the way.

        Raises:
            DataError: no such split, a shard missing or altered.
        """
        if name not in self.card.splits:
            raise DataError(unknown(f"split of {str(self.folder)!r}", name, self.card.splits))
        samples = [sample for shard in self.card.splits[name] for sample in read_shard(self.folder / shard.file, shard)]
        return sorted(samples, key=lambda sample: sample.key)

    def verify(self) -> None:
        """Check that the folder holds the card's shards, byte for byte, and nothing else.

        Raises:
            DataError: the first file that is missing, altered, or not on the card.
        """
        listed = {shard.file for shards in self.card.splits.values() for shard in shards}
        for path in sorted(self.folder.iterdir()):
            if path.name != CARD and path.name not in listed:
                raise DataError(f"{str(path)!r} is not on the card {CARD}; remove it")
        for shards in self.card.splits.values():
            for shard in shards:
                read_shard(self.folder / shard.file, shard)


def load(folder: Path) -> Dataset:
    """Read the card of a data set; shards are read, and checked, when a split is asked for.

    Raises:
        DataError: no such folder, no card, or a card that is not whole.
    """
    path = folder / CARD
    if not os.path.lexists(path):
        raise DataError(f"{str(folder)!r} has no {CARD}; build it with: mmgen data build {folder.name}")
    try:
        value = json.loads(read_plain(path, MAX_CARD_BYTES, str(path)))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{str(path)!r} cannot be read ({error}); build or pull the data set again") from error
    try:
        return Dataset(folder, _card(value))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{str(path)!r} is not a card: {error}; build or pull the data set again") from error


def data_version(folder: Path, known: Mapping[str, str] | None = None) -> str:
    """The hash that DVC gives a folder: the md5 of its list of md5 and path, with `.dir` behind; 36 characters.

    Args:
        folder: a data set.
        known: md5 of files, by path, that were just written and need not be read again.

    Raises:
        DataError: the folder is missing or holds something that is not a plain file.
    """
    if not folder.is_dir():
        raise DataError(f"{str(folder)!r} does not exist; build it with: mmgen data build {folder.name}")
    entries = []
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            raise DataError(f"{str(path)!r} is not a plain file (link, pipe or device); remove it")
        relative = path.relative_to(folder).as_posix()
        if (md5 := (known or {}).get(relative)) is None:
            with path.open("rb") as file:
                md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        entries.append({"md5": md5, "relpath": relative})
    text = json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def _card(value: dict[str, Any]) -> Card:
    """A card from its JSON, every field checked: it may come from anyone."""
    if value["schema"] != SCHEMA:
        raise ValueError(f"schema {value['schema']!r}; this version reads {SCHEMA}")
    splits: dict[str, list[Shard]] = {}
    for split, entry in value["splits"].items():
        if not _SPLIT.fullmatch(split):
            raise ValueError(f"split {split!r}; use small letters, digits and '_', a letter first")
        splits[split] = [_shard(split, item) for item in entry["shards"]]
        if entry["samples"] != sum(shard.samples for shard in splits[split]):
            raise ValueError(f"split {split!r} has {entry['samples']} samples, its shards have another sum")
    if not splits:
        raise ValueError("it has no splits")
    if strange := [name for name in value["modalities"] if name not in NAMES]:
        raise ValueError(unknown("modality", str(strange[0]), NAMES))
    return Card(
        name=_text(value["name"]),
        title=_text(value["title"]),
        licences=[{_text(key): _text(inner) for key, inner in item.items()} for item in value["licences"]],
        modalities=[_text(item) for item in value["modalities"]],
        languages=[_text(item) for item in value["languages"]],
        splits=splits,
        sources=[{_text(key): _text(inner) for key, inner in item.items()} for item in value["sources"]],
    )


def _shard(split: str, item: dict[str, Any]) -> Shard:
    file, sha256 = _text(item["file"]), _text(item["sha256"])
    if not _FILE.fullmatch(file) or not file.startswith(f"{split}-"):
        raise ValueError(f"shard {file!r} of split {split!r}; want {split}-00000.tar and so on")
    for name in ("bytes", "samples"):
        if type(item[name]) is not int or item[name] < 1:
            raise ValueError(f"shard {file!r}: {name} is {item[name]!r}; want a number above 0")
    return Shard(file, sha256, item["bytes"], item["samples"])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} where a text is wanted")
    if len(value) > MAX_TEXT:
        raise ValueError(f"a text of {len(value)} characters; want at most {MAX_TEXT}")
    if found := bad_character(value):  # it is printed on terminals and pages
        raise ValueError(f"{value!r} has a {found}")
    return value
