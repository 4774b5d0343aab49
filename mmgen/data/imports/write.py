"""Shards of an import: bytes are read again, held against what was looked at, and packed.

A shard is written under its name at once: no card lists it before all of them are on the disk.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mmgen.data.changes.scans import Seen, media_digest
from mmgen.data.imports.entry import Entry, Source
from mmgen.data.imports.look import Look
from mmgen.data.limits import GROUP_MINIMUM
from mmgen.data.shards import Sample, Shard, packed
from mmgen.data.worker_pool import Crew
from mmgen.errors import DataError, StorageError
from mmgen.files import refusal, sync_file
from mmgen.modalities import media, text
from mmgen.progress import Progress

SHARD_SAMPLES, SHARD_BYTES = 1000, 64 * 2**20
SYNCS = 2
"""Shards that the disk is asked to take at once."""
OTHER = "other"
"""Group of samples whose label is too rare for a group of its own."""
ANEW = "!"
"""Mark behind the ending of a part that is decoded and written anew, since data sets do not hold its format."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One sample as it will be written."""

    key: str
    media: Mapping[str, Source]
    parts: Mapping[str, str]
    """Modality -> ending."""
    digests: Mapping[str, bytes]
    size: int
    place: int
    """Among all that was dealt."""
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Written:
    """What a written shard is."""

    shard: Shard
    md5: str
    """The version of a data set is made of these."""


@dataclass(frozen=True, slots=True)
class Dealt:
    """Samples with their splits; every list has one entry a sample."""

    entries: Sequence[Entry]
    looks: Sequence[Look]
    splits: Sequence[str | None]
    """None is left out."""
    concepts: Sequence[str | None]
    """What each shares with its family; None for one without."""
    known: Collection[str] = ()
    """Keys that are taken already."""


def write_splits(
    folder: Path, crew: Crew, dealt: Dealt, progress: Progress, present: Mapping[str, Sequence[Shard]]
) -> tuple[dict[str, list[Written]], dict[str, list[Seen]]]:
    """Write every split in shards, a shard a process; all of them are on the disk when it returns.

    Args:
        folder: where shards go.
        crew: does the work.
        dealt: samples and their splits.
        progress: where shards are counted.
        present: shards by split that `folder` has already; new ones are numbered after them.

    Returns:
        The new shards by split, and what was seen of their samples by the sha256 of the shard.

    Raises:
        DataError: a file is not what it was when it was looked at.
        StorageError: the disk is full or the folder is not writable.
    """
    entries, looks, splits, known = dealt.entries, dealt.looks, dealt.splits, dealt.known
    named, groups = keys(entries, known), _groups(entries, splits)
    pieces: dict[str, list[Piece]] = defaultdict(list)
    for place in sorted(range(len(entries)), key=named.__getitem__):
        entry, look, split = entries[place], looks[place], splits[place]
        if split is None:
            continue
        facts: dict[str, Any] = {
            "captions": {code: said[0] for code, said in entry.captions.items()},
            "concept": entry.label or dealt.concepts[place] or named[place],
            "group": groups[place],
            "name": entry.name,
        }
        if entry.group is not None:
            facts["family"] = entry.group
        if more := {code: list(said[1:]) for code, said in entry.captions.items() if len(said) > 1}:
            facts["more_captions"] = more
        pieces[split].append(Piece(named[place], entry.media, look.parts, look.digests, look.size, place, facts))
    tasks = [
        [(folder, f"{split}-{number:05d}.tar", chunk)]
        for split in ("train", *sorted(pieces.keys() - {"train"}))
        for number, chunk in enumerate(_cut(pieces[split]), len(present.get(split, ())))
    ]
    progress.start("write", len(tasks), "shards")
    done: dict[int, Written] = {}
    with ThreadPoolExecutor(SYNCS) as disk:  # processes pack the next shards while the disk takes the last ones
        syncs = []
        for place, (written,) in crew.map(write_shards, tasks):
            if written is None:
                raise StorageError(f"writing {tasks[place][0][1]!r} ended its process; is there enough memory?")
            done[place] = written
            syncs.append(disk.submit(sync_file, folder / written.shard.file))
            progress.update(len(done))
        try:
            for sync in syncs:
                sync.result()
        except OSError as error:
            raise StorageError(refusal(folder, error)) from error
    progress.done()
    shards: dict[str, list[Written]] = defaultdict(list)
    seen: dict[str, list[Seen]] = {}
    for place in sorted(done):
        split = done[place].shard.file.rpartition("-")[0]
        shards[split].append(done[place])
        of = tasks[place][0][2]
        if not any(ending.endswith(ANEW) for piece in of for ending in piece.parts.values()):
            seen[done[place].shard.sha256] = [_seen(piece, split, looks[piece.place]) for piece in of]
    return dict(shards), seen


def _seen(piece: Piece, split: str, look: Look) -> Seen:
    digests = {ending: look.digests[modality] for modality, ending in piece.parts.items()}
    thumbnail = None if look.thumbnail is None else np.frombuffer(look.thumbnail, np.uint8)
    return Seen(piece.key, split, media_digest(digests), piece.facts["captions"], thumbnail)


def md5s(written: Mapping[str, Sequence[Written]]) -> dict[str, str]:
    """The md5 of every file that was written."""
    return {one.shard.file: one.md5 for of in written.values() for one in of}


def keys(entries: Sequence[Entry], known: Collection[str] = ()) -> list[str]:
    """A unique key of each entry, made from its name; what the alphabet of shards does not have is replaced.

    Args:
        known: keys that are taken already.
    """
    made: list[str] = []
    taken = set(known)
    for entry in entries:
        stem = PurePosixPath(entry.name).with_suffix("").as_posix() if "." in entry.name else entry.name
        key = re.sub(r"[^A-Za-z0-9_-]+", "_", stem).lstrip("-")[-64:].lstrip("-") or "_"
        if key != stem or key in taken:
            key = f"{key}-{hashlib.sha256(entry.name.encode()).hexdigest()[:10]}"
        while key in taken:  # the same name twice
            key = f"{key[:68]}-{len(taken)}"
        taken.add(key)
        made.append(key)
    return made


def write_shards(tasks: Sequence[tuple[Path, str, Sequence[Piece]]]) -> list[Written]:
    """Write shards, each a folder, the file's name and its samples; whether they are on the disk is asked later.

    Raises:
        DataError: a file is not what it was when it was looked at.
        StorageError: the disk is full or the folder is not writable.
    """
    done = []
    for folder, file, pieces in tasks:
        content = packed([_sample(piece) for piece in pieces])
        try:
            (folder / file).write_bytes(content)
        except OSError as error:
            raise StorageError(refusal(folder / file, error)) from error
        shard = Shard(file, hashlib.sha256(content).hexdigest(), len(content), len(pieces))
        done.append(Written(shard, hashlib.md5(content, usedforsecurity=False).hexdigest()))
    return done


def _sample(piece: Piece) -> Sample:
    captions = piece.facts["captions"]
    parts = {"json": (json.dumps(piece.facts, ensure_ascii=False, sort_keys=True) + "\n").encode()}
    if captions:
        parts["txt"] = text.encode(captions.get("en") or next(iter(captions.values())))
    for modality, source in piece.media.items():
        data = source.read()
        if hashlib.sha256(data).digest() != piece.digests[modality]:
            raise DataError(f"{piece.facts['name']!r} changed during the import; import again")
        ending = piece.parts[modality]
        if ending.endswith(ANEW):
            reader = media.module(modality)
            ending, data = ending.removesuffix(ANEW), reader.encode(reader.read(data, piece.facts["name"]))
        parts[ending] = data
    return Sample(piece.key, parts)


def _groups(entries: Sequence[Entry], splits: Sequence[str | None]) -> list[str]:
    """The label where enough training samples have it, `other` where they do not, `all` where nothing has one."""
    counts = Counter(entry.label for entry, split in zip(entries, splits, strict=True) if split == "train")
    if set(counts) == {None}:
        return ["all"] * len(entries)
    often = {label for label, count in counts.items() if label is not None and count >= GROUP_MINIMUM}
    rare = sum(count for label, count in counts.items() if label not in often)
    if not often or 0 < rare < GROUP_MINIMUM:
        return ["all"] * len(entries)
    return [str(entry.label) if entry.label in often else OTHER for entry in entries]


def _cut(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Shards of bounded count and size: one is held in memory while it is written."""
    chunk: list[Piece] = []
    size = 0
    for piece in pieces:
        if chunk and (len(chunk) == SHARD_SAMPLES or size + piece.size > SHARD_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(piece)
        size += piece.size
    if chunk:
        yield chunk
