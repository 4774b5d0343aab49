"""One shard of an import: bytes are read again, held against what was looked at, and packed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mmgen.data.imports.entry import Entry, Source
from mmgen.data.shards import Sample, Shard, pack
from mmgen.errors import DataError
from mmgen.modalities import media, text

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
    facts: Mapping[str, Any]


def keys(entries: Sequence[Entry]) -> list[str]:
    """A unique key of each entry, made from its name; what the alphabet of shards does not have is replaced."""
    made: list[str] = []
    taken: set[str] = set()
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


def write_shards(tasks: Sequence[tuple[Path, str, Sequence[Piece]]]) -> list[Shard]:
    """Write shards, each a folder, the file's name and its samples.

    Raises:
        DataError: a file is not what it was when it was looked at.
    """
    return [pack(folder, file, [_sample(piece) for piece in pieces]) for folder, file, pieces in tasks]


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
