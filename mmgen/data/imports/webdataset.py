"""Layout `webdataset`: tar files whose members share a key up to the first dot (github.com/webdataset/webdataset).

Media by their endings; `.txt` or `.caption` is text; the fields of `.json` are columns. The beginning of a tar's name
says the split, as in `train-000000.tar`.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mmgen.data.imports.columns import ENDINGS, Columns, entry, split_of
from mmgen.data.imports.entry import Entry, Refused, TarSource
from mmgen.data.shards import EXTENDED, MAX_FACTS_BYTES, MAX_PART_BYTES
from mmgen.errors import DataError
from mmgen.modalities import text
from mmgen.untrusted import open_plain

TEXTS = ("txt", "caption", "text")
MAX_HEADER_BYTES = 2**16
"""Largest extended header of a tar: a long name, a time with fractions."""


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
        for key, parts, twice in _samples(path):
            name = f"{path.name}: {key}"
            if twice:
                yield Refused(name, f"its member {twice!r} is there twice")
                continue
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


class _Header(tarfile.TarInfo):
    """A tar header; the extended ones are looked at before tarfile reads them."""

    def _proc_member(self, tar: Any) -> Any:
        if self.type in EXTENDED:
            if not 0 <= self.size <= MAX_HEADER_BYTES:
                raise tarfile.ReadError(f"an extended header of {self.size} bytes; want at most {MAX_HEADER_BYTES}")
            start = tar.fileobj.tell()
            if re.search(rb"[0-9]{40}", tar.fileobj.read(self.size)):  # tarfile would take the square of its length
                raise tarfile.ReadError("an extended header with a number of 40 digits")
            tar.fileobj.seek(start)
        return super()._proc_member(tar)  # type: ignore[misc]


def _samples(path: Path) -> Iterator[tuple[str, dict[str, TarSource], str]]:
    """Key and members of each sample, and an ending that it has twice; members of one key are neighbours, as
    everywhere in WebDataset."""
    key = twice = ""
    parts: dict[str, TarSource] = {}
    last = -1
    try:
        with open_plain(path, path.name) as file, tarfile.open(fileobj=file, mode="r:", tarinfo=_Header) as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined] # tarfile would keep every header
                if member.offset_data <= last:  # a crafted size may send the reader back for ever
                    raise tarfile.ReadError("a member lies before the one that it follows")
                last = member.offset_data
                if not member.isreg() or member.issparse() or not 0 <= member.size <= MAX_PART_BYTES:
                    continue
                name = PurePosixPath(member.name)
                stem, dot, ending = name.name.partition(".")
                if not dot or not stem or name.name.startswith("._"):
                    continue
                this = (name.parent / stem).as_posix()
                if this != key:
                    if parts:
                        yield key, parts, twice
                    key, parts, twice = this, {}, ""
                if (ending := ending.lower()) in parts:
                    twice = ending
                parts[ending] = TarSource(path, member.offset_data, member.size)
    except DataError:
        raise
    except Exception as error:  # tarfile raises IndexError, KeyError, RecursionError and others on what is damaged
        raise DataError(
            f"{path.name!r}: not a whole tar file ({error}); gzipped ones must be unzipped first"
        ) from error
    if parts:
        yield key, parts, twice


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
    if source.size > MAX_FACTS_BYTES:
        raise DataError(f"{source.size} bytes of text; want at most {MAX_FACTS_BYTES}")
    return source.read()
