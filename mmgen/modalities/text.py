"""Captions: bytes <-> checked strings <-> lines that a person can read.

One normal form: Unicode NFC without surrounding white space. Control characters, marks that reverse the reading
direction and invisible tags are refused, since they can hide text from a reader or break a log line.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmgen.errors import DataError
from mmgen.files import write_bytes

if TYPE_CHECKING:
    from mmgen.modalities.image import Picture

ENDING = "txt"

MAX_CHARACTERS = 500
MAX_RAW = 4 * MAX_CHARACTERS + 64
"""Most characters before they are composed, and bytes before they are decoded: to order n accents takes n * n steps."""

_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_REFUSED = {"Cc": "control character", "Cs": "half of a surrogate pair", "Zl": "line break", "Zp": "line break"}


def read(data: bytes, name: str) -> str:
    """Decode a caption from UTF-8.

    Raises:
        DataError: not UTF-8, or refused by `check`; `name` stands in the message.
    """
    if len(data) > MAX_RAW:  # before any work on it
        raise DataError(f"{name!r}: {len(data)} bytes of text; want at most {MAX_CHARACTERS} characters")
    try:
        return check(data.decode(), name)
    except UnicodeDecodeError as error:
        raise DataError(f"{name!r}: byte {error.start} is not UTF-8; save the text as UTF-8") from error


def check(text: str, name: str) -> str:
    """The normal form of a caption.

    Raises:
        DataError: empty, too long, or with a control, direction or tag character; `name` stands in the message.
    """
    text = text.strip()
    if len(text) <= MAX_RAW:
        text = unicodedata.normalize("NFC", text)
    if not text:
        raise DataError(f"{name!r}: the text is empty; write a caption")
    if len(text) > MAX_CHARACTERS:
        raise DataError(f"{name!r}: {len(text)} characters; want at most {MAX_CHARACTERS}")
    if found := bad_character(text):
        raise DataError(f"{name!r}: {found}; remove it")
    return text


def bad_character(text: str) -> str | None:
    """What the first refused character is and where it stands; None when the text is clean.

    >>> bad_character("red\\x07 heart")
    'control character U+0007 at place 3'
    """
    if text.isprintable():  # nothing that is refused ever is
        return None
    for place, char in enumerate(text):
        kind = "direction mark" if char in _DIRECTION else _REFUSED.get(unicodedata.category(char))
        kind = "invisible tag" if "\U000e0000" <= char <= "\U000e007f" else kind
        if kind is not None:
            return f"{kind} U+{ord(char):04X} at place {place}"
    return None


def encode(text: str) -> bytes:
    """The bytes of a text file of one line."""
    return (text + "\n").encode()


def write(text: str, path: Path) -> None:
    """Write a caption as UTF-8, whole or not at all."""
    write_bytes(path, encode(text))


def picture(text: str) -> Picture:
    """The text on a white tile."""
    from mmgen.modalities.contact_sheet import lettered

    return lettered([text])


def show(texts: Sequence[str]) -> str:
    """An HTML list of captions, escaped, each in its own reading direction."""
    return "<ol>" + "".join(f'<li dir="auto">{html.escape(text)}</li>' for text in texts) + "</ol>"
