"""Layout `folder`: files beside a `metadata.jsonl` or `metadata.csv`, as Hugging Face datasets reads it.

`file_name` (or `image`, `audio`, `video`, or `<modality>_file_name`) is a path below the folder of the metadata file;
all other columns are facts. Metadata files one level down name their split: `train/metadata.jsonl`.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmgen.data.imports.columns import ENDINGS, FILE, Columns, each, entry, media_columns
from mmgen.data.imports.entry import Entry, FileSource, Refused, Source
from mmgen.errors import ConfigError, DataError
from mmgen.modalities.text import bad_character
from mmgen.untrusted import open_plain, read_plain

FILES = ("metadata.jsonl", "metadata.csv")
MAX_TABLE_BYTES = 2**29
"""Largest metadata file."""
PEEKED = 100
"""Lines whose keys are the columns of a `.jsonl`."""
_SIGNS = {
    b"\x89PNG": "image",
    b"\xff\xd8\xff": "image",
    b"RIFF": "image",
    b"fLaC": "sound",
    b"OggS": "sound",
    b"GIF8": "video",
}


def find(folder: Path) -> list[Path]:
    """Metadata files of `folder`, or of the folders in it."""
    at_once = [folder / name for name in FILES if (folder / name).is_file()]
    return at_once or sorted(path for name in FILES for path in folder.glob(f"*/{name}"))


def read(folder: Path, asked: Columns) -> Iterator[Entry | Refused]:
    """Every row of every metadata file.

    Raises:
        ConfigError: a column that is not there, or none that names files.
        DataError: a metadata file that cannot be read at all.
    """
    for path in find(folder):
        split = None if path.parent == folder else path.parent.name
        yield from _table(path, asked, split, folder)


def _table(path: Path, asked: Columns, split: str | None, folder: Path) -> Iterator[Entry | Refused]:
    where = path.relative_to(folder).as_posix()
    if not _inside(str(path.parent), folder):
        raise DataError(f"{where!r}: a link leads out of the folder; put the files themselves here")
    try:
        content = read_plain(path, MAX_TABLE_BYTES, where).decode("utf-8-sig")
        found, rows = _csv(content) if path.suffix == ".csv" else _jsonl(content)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{where!r} cannot be read ({error}); save it as UTF-8") from error
    columns = asked.chosen(found, where)
    media = media_columns(found)
    if not media:
        raise ConfigError(f"{where}: no column names files (want {FILE}); columns: {', '.join(found) or 'none'}")

    def make(name: str, row: Any) -> Entry | Refused:
        sources: dict[str, Source] = {}
        shown = name
        for column, modality in media.items():
            if (value := row.get(column)) in (None, ""):
                continue
            try:
                file = below(path.parent, value, folder)
                modality = modality or kind(file)
            except DataError as error:
                return Refused(f"{name} ({value})"[:200], str(error))
            shown = file.removeprefix(f"{folder}/")
            if modality in sources:
                return Refused(name, f"two files of modality {modality}")
            sources[modality] = FileSource(file)
        if not sources:
            return Refused(name, f"names no file in {' or '.join(media)}")
        return entry(shown, row, sources, columns, split=split)

    yield from each(((f"{where} line {number}", row) for number, row in rows), make)


def below(folder: Path, value: Any, root: Path) -> str:
    """`folder / value`, if that stays below it and below `root`; as text, since there is one for every sample.

    Raises:
        DataError: not a relative path, one that leaves the folder, or a name with control characters.
    """
    if not isinstance(value, str):
        raise DataError("the file's name is no text")
    if found := bad_character(value):
        raise DataError(f"the file's name has a {found}; rename the file")
    relative = value.replace("\\", "/")
    parts = [part for part in relative.split("/") if part not in ("", ".")]
    if relative.startswith("/") or ".." in parts or not parts or ":" in parts[0]:
        raise DataError("its path leaves the folder; give it relative to the metadata file")
    # Of the file itself a link is refused where it is read; folders are looked up once each.
    *parents, name = parts
    above = "/".join([str(folder), *parents])
    if not _inside(above, root):
        raise DataError("a link leads out of the folder")
    return f"{above}/{name}"


@lru_cache(maxsize=4096)
def _inside(path: str, folder: Path) -> bool:
    # Not Path.resolve, which raises on links that lead in circles.
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def kind(path: str) -> str:
    """Modality of a file by its ending, else by its first bytes.

    Raises:
        DataError: neither says.
    """
    if (modality := ENDINGS.get(f".{path.rpartition('.')[2].lower()}")) is not None:
        return modality
    with open_plain(path, path.rpartition("/")[2]) as file:
        head = file.read(4)
    for sign, modality in _SIGNS.items():
        if head.startswith(sign):
            return modality
    raise DataError(f"ending {Path(path).suffix!r} is none of {', '.join(ENDINGS)}; convert it")


def _csv(content: str) -> tuple[list[str], Iterable[tuple[int, Any]]]:
    # Lines as the format has them: a text may hold characters that Python takes for line breaks.
    reader = csv.DictReader(io.StringIO(content, newline=""), restkey=None)
    columns = [name for name in reader.fieldnames or [] if name]

    def rows() -> Iterator[tuple[int, Any]]:
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:  # the reader goes on with the next line
                yield reader.line_num, Refused(f"metadata.csv line {reader.line_num}", str(error))
                continue
            line = reader.line_num
            if None in row or None in row.values():
                yield line, Refused(f"metadata.csv line {line}", f"not {len(columns)} fields")
            else:
                yield line, row

    return columns, rows()


def _jsonl(content: str) -> tuple[list[str], Iterable[tuple[int, Any]]]:
    lines = [(number, line) for number, line in enumerate(content.split("\n"), 1) if line.strip()]

    def parsed(number: int, line: str) -> Any:
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            return Refused(f"metadata.jsonl line {number}", f"not JSON ({error})")

    rows = ((number, parsed(number, line)) for number, line in lines)
    head = list(itertools.islice(rows, PEEKED))
    columns = dict.fromkeys(key for _, row in head if isinstance(row, dict) for key in row)
    return list(columns), itertools.chain(head, rows)
