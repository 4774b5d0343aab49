"""JSON of others, looked at before it is parsed: parsing a few megabytes can take gigabytes, or all of the stack."""

from __future__ import annotations

import json
import math
import re

from mmgen.errors import DataError

_SHAPE = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},"]', re.DOTALL)
"""A string as one piece, or a sign that makes the shape; a quote by itself is a string that does not end."""


def examine(body: bytearray, deepest: int, most: int) -> None:
    """Look at the shape of JSON, in time and memory that its size bounds; then see whether it can be parsed.

    Args:
        body: as it came.
        deepest: lists and objects in each other that are taken.
        most: lists, objects and their members that are taken.

    Raises:
        DataError: it is no JSON, too deep, has too many values, or holds a number that is not finite.
    """
    depth = values = 0
    for found in _SHAPE.finditer(body):
        sign = found[0]
        values += sign in (b"[", b"{", b",")
        depth += (sign in (b"[", b"{")) - (sign in (b"]", b"}"))
        if depth > deepest:
            raise DataError(f"JSON of more than {deepest} lists and objects in each other; send a flatter one")
        if values > most:
            raise DataError(f"JSON of more than {most} values; send fewer rows")
    try:
        json.loads(body, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the body is no JSON ({str(error)[:120]}); send an object such as {{}}") from None


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:20]} is no number")
    return number
