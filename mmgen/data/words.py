"""Words of a caption."""

from __future__ import annotations

import re

_WORD = re.compile(r"\w[\w'-]*")


def words(caption: str) -> list[str]:
    """In small letters, in their order.

    >>> words("A cat's two-tone CAP, red")
    ['a', "cat's", 'two-tone', 'cap', 'red']
    """
    return _WORD.findall(str(caption).lower())
