"""Text as the symbols that the speaker reads: letters, the apostrophe and the gap between words."""

from __future__ import annotations

import re
import unicodedata

from mmgen.data.sources.prompts import normalised
from mmgen.errors import DataError

START, END = "<", ">"
SYMBOLS = START + END + " 'abcdefghijklmnopqrstuvwxyz"
"""The first two stand for the silence before and after the words."""

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def spell(text: str) -> str:
    """The symbols of a text: as the transcripts of data set `prompts`, without accents, long numbers by their digits.

    >>> spell("Press 10, or #!")
    '<press one zero or pound>'

    Raises:
        DataError: nothing of the text can be spoken.
    """
    plain = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    plain = re.sub(r"[0-9]", lambda digit: f" {_DIGITS[int(digit[0])]} ", plain)
    plain = normalised(plain)
    if not plain:
        raise DataError(f"{text[:60]!r} has nothing that can be spoken; write letters a to z or digits")
    return START + plain + END


def words(text: str) -> list[str]:
    """The words of a text as they are spoken.

    >>> words("Press 1, or #!")
    ['press', 'one', 'or', 'pound']
    """
    return spell(text)[1:-1].split()


def numbers(symbols: str) -> list[int]:
    """The number of each symbol of a spelled text."""
    return [SYMBOLS.index(symbol) for symbol in symbols]
