"""What a layout says of one sample before anything of it is decoded, and where its bytes are.

An `Entry` is small and can be sent to another process; bytes are read only where they are looked at or written.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from mmgen.data.shards import MAX_PART_BYTES
from mmgen.errors import DataError, one_line
from mmgen.untrusted import is_plain, open_plain, read_plain

MAX_SHOWN = 300
"""Longest name or reason of a sample that was left out, in characters."""


class Source(Protocol):
    """Where the bytes of one medium are."""

    def read(self) -> bytes:
        """All of them.

        Raises:
            DataError: missing, too large, or not a plain file.
        """


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file of its own."""

    path: str
    """Text, since a `Path` costs more to send than all the rest of an entry."""

    def read(self) -> bytes:
        """The file's bytes."""
        return read_plain(self.path, MAX_PART_BYTES, self.path.rpartition("/")[2])


@dataclass(frozen=True, slots=True)
class TarSource:
    """A stretch of a tar file."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """The member's bytes."""
        with open_plain(self.path, self.path.name) as file:
            try:
                file.seek(self.offset)
                data = file.read(self.size)
            except OSError as error:
                raise DataError(f"{self.path.name!r}: cannot be read ({error})") from error
        if len(data) != self.size:
            raise DataError(f"{self.path.name!r}: cut short, {len(data)} of {self.size} bytes")
        return data


@dataclass(frozen=True, slots=True)
class CellSource:
    """A cell of a Parquet file: bytes, or a struct whose field `bytes` has them."""

    path: Path
    column: str
    row_group: int
    row: int

    def read(self) -> bytes:
        """The cell's bytes."""
        try:
            value = _column(self.path, self.column, self.row_group)[self.row].as_py()
        except Exception as error:  # pyarrow raises ArrowInvalid, OSError and others
            raise DataError(f"{self.path.name!r}: cannot be read ({error})") from error
        value = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(value, bytes):
            raise DataError(f"{self.path.name!r}: row {self.row} has no bytes in column {self.column!r}")
        if len(value) > MAX_PART_BYTES:
            raise DataError(f"{self.path.name!r}: {len(value)} bytes; want at most {MAX_PART_BYTES}")
        return value


@lru_cache(maxsize=2)
def _column(path: Path, column: str, row_group: int) -> Any:
    """A column of one row group: rows are asked for in order, so one group in memory is enough."""
    import pyarrow.parquet as pq

    if not is_plain(path):
        raise OSError("not a plain file any more")
    with pq.ParquetFile(path) as file:
        return file.read_row_group(row_group, columns=[column]).column(column)


@dataclass(frozen=True, slots=True)
class Entry:
    """One sample as its owner described it."""

    name: str
    """What its owner calls it: a path below the folder, a tar's member, a row."""
    media: dict[str, Source]
    """By modality; text is in `captions`."""
    captions: dict[str, tuple[str, ...]]
    """By language; the first one is what models learn."""
    split: str | None = None
    """As the owner wrote it."""
    group: str | None = None
    """Samples of one group never lie in different splits."""
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A sample that was left out, and why."""

    name: str
    reason: str

    def __post_init__(self) -> None:
        """Both may be of others' making, and stand in reports and on terminals: one line each."""
        object.__setattr__(self, "name", one_line(self.name, MAX_SHOWN))
        object.__setattr__(self, "reason", one_line(self.reason, MAX_SHOWN))
