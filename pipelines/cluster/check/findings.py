"""Results of a check: one line each, with the remedy where something is missing."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import MmgenError, one_line

LONGEST = 600
"""Characters of an answer of a server that are shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of `mmgen cluster check`."""

    what: str
    ok: bool | None
    """None where it could not be looked at."""
    found: str
    way_out: str = ""


def good(what: str, found: str) -> Finding:
    """It is as a run needs it."""
    return Finding(what=what, ok=True, found=one_line(found, LONGEST))


def missing(what: str, found: str, way_out: str) -> Finding:
    """A run would fail."""
    return Finding(what=what, ok=False, found=one_line(found, LONGEST), way_out=one_line(way_out, LONGEST))


def unknown(what: str, found: str, way_out: str) -> Finding:
    """It cannot be looked at from here, or by whoever asks."""
    return Finding(what=what, ok=None, found=one_line(found, LONGEST), way_out=one_line(way_out, LONGEST))


def of_error(what: str, error: MmgenError, *, known: bool = True) -> Finding:
    """What an error of ours says, its way out behind the last semicolon."""
    said, _, way_out = str(error).rpartition("; ")
    return (missing if known else unknown)(what, said or way_out, way_out if said else "run again, or report it")
