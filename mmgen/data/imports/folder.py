"""Layout `folder`: files beside a `metadata.jsonl` or `metadata.csv`, as Hugging Face datasets reads it.

`file_name` (or `image`, `audio`, `video`, or `<modality>_file_name`) is a path below the folder of the metadata file;
all other columns are facts. Metadata files one level down name their split: `train/metadata.jsonl`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmgen.data.imports.columns import ENDINGS, FILE, Columns, each, entry, media_columns
from mmgen.data.imports.entry import Entry, FileSource, Refused, Source
from mmgen.errors import ConfigError, DataError

FILES = ("metadata.jsonl", "metadata.csv")
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
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{where!r} cannot be read ({error}); save it as UTF-8") from error
    found, rows = _csv(content) if path.suffix == ".csv" else _jsonl(content)
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
                file = below(path.parent, value)
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


def below(folder: Path, value: Any) -> str:
    """`folder / value`, if that stays below the folder; as text, since there is one for every sample.

    Raises:
        DataError: not a relative path, or one that leaves the folder.
    """
    if not isinstance(value, str) or "\0" in value:
        raise DataError("the file's name is no text")
    relative = value.replace("\\", "/")
    parts = [part for part in relative.split("/") if part not in ("", ".")]
    if relative.startswith("/") or ".." in parts or not parts or ":" in parts[0]:
        raise DataError("its path leaves the folder; give it relative to the metadata file")
    # Of the file itself a link is refused where it is read; folders are looked up once each.
    *parents, name = parts
    above = "/".join([str(folder), *parents])
    if not _inside(above, folder):
        raise DataError("a link leads out of the folder")
    return f"{above}/{name}"


@lru_cache(maxsize=4096)
def _inside(path: str, folder: Path) -> bool:
    return Path(path).resolve().is_relative_to(folder.resolve())


def kind(path: str) -> str:
    """Modality of a file by its ending, else by its first bytes.

    Raises:
        DataError: neither says.
    """
    if (modality := ENDINGS.get(f".{path.rpartition('.')[2].lower()}")) is not None:
        return modality
    try:
        with Path(path).open("rb") as file:
            head = file.read(4)
    except (OSError, ValueError) as error:
        raise DataError("no such file" if isinstance(error, FileNotFoundError) else str(error)) from error
    for sign, modality in _SIGNS.items():
        if head.startswith(sign):
            return modality
    raise DataError(f"ending {Path(path).suffix!r} is none of {', '.join(ENDINGS)}; convert it")


def _csv(content: str) -> tuple[list[str], Iterable[tuple[int, Any]]]:
    reader = csv.DictReader(content.splitlines(keepends=True), restkey=None)
    columns = [name for name in reader.fieldnames or [] if name]

    def rows() -> Iterator[tuple[int, Any]]:
        try:
            for row in reader:
                line = reader.line_num
                if None in row or None in row.values():
                    yield line, Refused(f"metadata.csv line {line}", f"not {len(columns)} fields")
                else:
                    yield line, row
        except csv.Error as error:
            yield reader.line_num, Refused(f"metadata.csv line {reader.line_num}", str(error))

    return columns, rows()


def _jsonl(content: str) -> tuple[list[str], Iterable[tuple[int, Any]]]:
    lines = [(number, line) for number, line in enumerate(content.splitlines(), 1) if line.strip()]

    def parsed(number: int, line: str) -> Any:
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            return Refused(f"metadata.jsonl line {number}", f"not JSON ({error})")

    rows = [(number, parsed(number, line)) for number, line in lines]
    columns = dict.fromkeys(key for _, row in rows[:PEEKED] if isinstance(row, dict) for key in row)
    return list(columns), rows
