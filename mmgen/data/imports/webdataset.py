"""Layout `webdataset`: tar files whose members share a key up to the first dot (github.com/webdataset/webdataset).

Media by their endings; `.txt` or `.caption` is text; the fields of `.json` are columns. The beginning of a tar's name
says the split, as in `train-000000.tar`.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mmgen.data.imports.columns import ENDINGS, Columns, entry, split_of
from mmgen.data.imports.entry import Entry, Refused, TarSource
from mmgen.data.shards import MAX_PART_BYTES
from mmgen.errors import DataError
from mmgen.modalities import text

TEXTS = ("txt", "caption", "text")
MAX_FACTS = 2**20
"""Bytes of a json or text member."""


def find(folder: Path) -> list[Path]:
    """Tar files of `folder`."""
    return sorted(folder.glob("*.tar"))


def read(folder: Path, asked: Columns) -> Iterator[Entry | Refused]:
    """Every sample of every tar; nothing is unpacked.

    Raises:
        ConfigError: a column that is not there.
        DataError: a tar that cannot be read.
    """
    for path in find(folder):
        columns: Columns | None = None
        for key, parts in _samples(path):
            name = f"{path.name}: {key}"
            try:
                row, media = _row(path, parts)
            except DataError as error:
                yield Refused(name, str(error))
                continue
            if columns is None:
                columns = asked.chosen(sorted(row), path.name)
            yield (
                entry(name, row, media, columns, split=split_of(path.name))
                if media
                else Refused(name, f"no media; it has: {', '.join(sorted(parts))}")
            )


def _samples(path: Path) -> Iterator[tuple[str, dict[str, TarSource]]]:
    """Key and members of each sample; members of one key are neighbours, as everywhere in WebDataset."""
    key = ""
    parts: dict[str, TarSource] = {}
    try:
        with tarfile.open(path, mode="r:") as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined] # tarfile would keep every header
                if not member.isreg() or member.issparse() or not 0 <= member.size <= MAX_PART_BYTES:
                    continue
                name = PurePosixPath(member.name)
                stem, dot, ending = name.name.partition(".")
                if not dot or not stem or name.name.startswith("._"):
                    continue
                this = (name.parent / stem).as_posix()
                if this != key:
                    if parts:
                        yield key, parts
                    key, parts = this, {}
                parts[ending.lower()] = TarSource(path, member.offset_data, member.size)
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        raise DataError(
            f"{path.name!r}: not a whole tar file ({error}); gzipped ones must be unzipped first"
        ) from error
    if parts:
        yield key, parts


def _row(path: Path, parts: dict[str, TarSource]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Facts and media of one sample."""
    row: dict[str, Any] = {}
    if "json" in parts:
        try:
            value = json.loads(_small(parts["json"]))
        except (ValueError, RecursionError) as error:
            raise DataError(f"its json cannot be read ({error})") from error
        if not isinstance(value, dict):
            raise DataError("its json is not an object")
        # Our own shards keep captions by language.
        captions = value.get("captions")
        row |= {name: inner for name, inner in value.items() if name != "captions" or isinstance(inner, list | str)}
        row |= {f"caption_{code}": said for code, said in captions.items()} if isinstance(captions, dict) else {}
    for ending in TEXTS:
        if ending in parts:
            row["text"] = text.read(_small(parts[ending]), f"its {ending}")
    media: dict[str, Any] = {}
    for ending, source in parts.items():
        modality = ENDINGS.get(f".{ending.rpartition('.')[2]}")
        if modality is not None:
            if modality in media:
                raise DataError(f"two members of modality {modality}")
            media[modality] = source
    return row, media


def _small(source: TarSource) -> bytes:
    if source.size > MAX_FACTS:
        raise DataError(f"{source.size} bytes of text; want at most {MAX_FACTS}")
    return source.read()
