"""Which column says what: chosen by the user, else by the names that people use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmgen.data.imports.entry import Entry, Refused, Source
from mmgen.errors import ConfigError, DataError, unknown
from mmgen.modalities.text import bad_character

TEXT = ("text", "caption", "captions", "transcription", "transcript", "sentence", "description")
"""Columns that are taken for captions when none is named, the first one that is there."""
FILE = "file_name"
MEDIA = {"image": "image", "audio": "sound", "sound": "sound", "video": "video", "music": "music"}
"""Columns `<key>`, `<key>_file_name` and structs called so -> modality."""
ENDINGS = {
    ".png": "image",
    ".jpg": "image",
    ".jpeg": "image",
    ".webp": "image",
    ".wav": "sound",
    ".flac": "sound",
    ".ogg": "sound",
    ".gif": "video",
    ".apng": "video",
    ".abc": "music",
}
"""What a file is by its ending, where its column does not say."""
_SPLIT = re.compile(r"(?<![a-z])(train|training|validation|valid|val|dev|test)(?![a-z])")


@dataclass(frozen=True, slots=True)
class Columns:
    """What the user asked for; anything left empty is looked for by its usual name."""

    text: Mapping[str, str] = field(default_factory=dict)
    """Language -> column."""
    language: str = "en"
    """Of a text column that was found by its usual name."""
    group: str | None = None
    label: str | None = None
    split: str | None = None

    def chosen(self, found: Sequence[str], where: str) -> Columns:
        """The same with every name settled.

        Args:
            found: columns that are there.
            where: what to call the table in an error.

        Raises:
            ConfigError: a column was named that is not there.
        """
        for name in (*self.text.values(), self.group, self.label, self.split):
            if name is not None and name not in found:
                raise ConfigError(f"{where}: {unknown('column', name, found)}")
        usual = next((name for name in TEXT if name in found), None)
        text = dict(self.text) or ({} if usual is None else {self.language: usual})
        split = self.split or ("split" if "split" in found else None)
        return Columns(text, self.language, self.group, self.label, split)


def split_of(name: str) -> str | None:
    """The split that a file's name begins with or names by a word of its own.

    >>> split_of("train-00000-of-00003.parquet"), split_of("captions_val2017.json"), split_of("contest.tar")
    ('train', 'val', None)
    """
    found = _SPLIT.search(name)
    return found[1] if found else None


def media_columns(found: Sequence[str]) -> dict[str, str | None]:
    """Column -> modality of every column that names a file; None where the file's ending decides.

    >>> media_columns(["file_name", "audio_file_name", "text"])
    {'file_name': None, 'audio_file_name': 'sound'}
    """
    named: dict[str, str | None] = {FILE: None} if FILE in found else {}
    for column in found:
        modality = MEDIA.get(column.removesuffix("_file_name"))
        if modality is not None:
            named[column] = modality
    return named


def entry(
    name: str,
    row: Mapping[str, Any],
    media: Mapping[str, Source],
    columns: Columns,
    *,
    split: str | None = None,
) -> Entry | Refused:
    """One row as an entry; a row whose text is no text, or whose name or words hold control characters, is refused."""
    if found := bad_character(name):
        return Refused(name, f"its name has a {found}")
    captions = {}
    for language, column in columns.text.items():
        try:
            captions[language] = _texts(row.get(column))
        except DataError as error:
            return Refused(name, f"column {column!r}: {error}")
    asked: dict[str, str | None] = {}
    for role, named in _roles(columns).items():
        try:
            asked[role] = _word(row.get(named)) if named else None
        except DataError as error:
            return Refused(name, f"column {named!r}: {error}")
    if columns.split is not None and asked["split"] is not None:
        split = asked["split"]
    return Entry(name, dict(media), captions, split, asked["group"], asked["label"])


def each(rows: Iterable[tuple[str, Any]], make: Callable[[str, Any], Entry | Refused]) -> Iterable[Entry | Refused]:
    """`make(name, row)` of every row that is a mapping."""
    for name, row in rows:
        if isinstance(row, Refused):
            yield row
        elif not isinstance(row, Mapping):
            yield Refused(name, f"a {type(row).__name__} where named fields are wanted")
        else:
            yield make(name, row)


def _roles(columns: Columns) -> dict[str, str | None]:
    return {"split": columns.split, "group": columns.group, "label": columns.label}


def _word(value: Any) -> str | None:
    """A label, group or split as text; nothing where the cell is empty."""
    if isinstance(value, dict | list | tuple | bytes):
        raise DataError(f"{type(value).__name__} where a word is wanted")
    word = "" if value is None else str(value)[:200]
    if found := bad_character(word):
        raise DataError(f"{found}; remove it")
    return word or None


def _texts(value: Any) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value
    if found is None or found == []:
        raise DataError("no text")
    if not isinstance(found, list | tuple) or not all(isinstance(text, str) for text in found):
        raise DataError(f"{type(value).__name__} where text is wanted")
    return tuple(found)
