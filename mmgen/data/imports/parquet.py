"""Layout `parquet`: tables with a column of bytes, or of structs of `bytes` and `path`, as Hugging Face writes them.

The beginning of a file's name says the split, as in `train-00000-of-00003.parquet`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmgen.data.imports.columns import ENDINGS, MEDIA, Columns, entry, split_of
from mmgen.data.imports.entry import CellSource, Entry, Refused, Source
from mmgen.errors import ConfigError, DataError
from mmgen.untrusted import is_plain

MAX_ROWS = 2_000_000
"""Most rows of a table: each becomes an entry in memory."""
BATCH = 1024
"""Rows in memory at a time: few bytes of a table may stand for very many rows."""


def find(folder: Path) -> list[Path]:
    """Parquet files of `folder` or of its `data/`."""
    return sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet"))


def read(folder: Path, asked: Columns) -> Iterator[Entry | Refused]:
    """Every row of every table.

    Raises:
        ConfigError: a column that is not there, or none with media.
        DataError: a file that is not Parquet.
    """
    for path in find(folder):
        if not is_plain(path):
            raise DataError(f"{path.name!r}: not a plain file (link, pipe, device or folder); put the file itself here")
        try:
            yield from _table(path, asked)
        except (ConfigError, DataError):
            raise
        except Exception as error:  # pyarrow raises ArrowException, OSError, KeyError and others
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{path.name!r} is not a whole Parquet file ({reason[:200]})") from error


def _table(path: Path, asked: Columns) -> Iterator[Entry | Refused]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        if not 0 <= file.metadata.num_rows <= MAX_ROWS:
            raise DataError(f"{path.name!r}: {file.metadata.num_rows} rows; want at most {MAX_ROWS}; cut it")
        schema = file.schema_arrow
        media = {
            name: MEDIA.get(name)
            for name, kind in zip(schema.names, schema.types, strict=True)
            if pa.types.is_binary(kind)
            or pa.types.is_large_binary(kind)
            or (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)
        }
        if not media:
            raise ConfigError(f"{path.name}: no column has bytes of media; columns: {', '.join(schema.names)}")
        facts = [name for name in schema.names if name not in media]
        columns = asked.chosen(facts, path.name)
        roles = (*columns.text.values(), columns.group, columns.label, columns.split)
        wanted = sorted({name for name in roles if name is not None})
        count = 0
        for group in range(file.num_row_groups):
            rows = _rows(file, group, [*wanted, *_paths(schema, media)])
            for row, values in enumerate(rows):
                name = f"{path.name}: row {count}"
                count += 1
                if count > file.metadata.num_rows:
                    raise DataError(f"{path.name!r} has more rows than it says")
                sources: dict[str, Source] = {}
                for column, modality in media.items():
                    inner = values.get(column) or {}
                    ending = Path(str(inner.get("path") or "")).suffix.lower()
                    modality = modality or ENDINGS.get(ending, "image")
                    sources[modality] = CellSource(path, column, group, row)
                yield entry(name, values, sources, columns, split=split_of(path.name))


def _paths(schema: Any, media: dict[str, str | None]) -> list[str]:
    """Fields with the names of the files, which say what they are; not their bytes."""
    return [
        f"{name}.path"
        for name in media
        if hasattr(schema.field(name).type, "get_field_index") and schema.field(name).type.get_field_index("path") >= 0
    ]


def _rows(file: Any, group: int, columns: list[str]) -> Iterator[dict[str, Any]]:
    if not columns:
        yield from ({} for _ in range(min(file.metadata.row_group(group).num_rows, MAX_ROWS)))
        return
    for batch in file.iter_batches(BATCH, row_groups=[group], columns=columns):
        yield from batch.to_pylist()
