"""Every error that mmgen raises on purpose.

    MmgenError
      ConfigError      the run was described wrongly; mend the setting and run again   exit 10
      DataError        an input is bad; the message names it                           exit 20
      StorageError     a disk or store refused, or a sealed folder was altered         exit 40
      TrackingError    the MLflow server or registry refused                           exit 40
        OutrunError    somebody else changed the champion meanwhile                    exit 40
      WorkersError     a process of a training in several is gone; run again           exit 40
      TrainingError    the numbers went wrong; the last good checkpoint is kept        exit 10
      OutOfMemoryError memory ran out; the next attempt takes smaller batches          exit 50
      BudgetError      attempts, seconds or GPU seconds of the run are spent           exit 70

A message is one line: the thing, the value that was found, the way out. Names and captions of others may stand in it,
so whatever would break a line, colour a terminal or turn the reading direction is shown as an escape. The command line
prints it and exits with `exit_code`; anything else that escapes is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_LINE = 2000
"""Longest message in characters."""


def one_line(text: str, limit: int = MAX_LINE) -> str:
    """Text of others as one line that is safe to print: what is not printable is escaped, what is too long is cut.

    >>> one_line("red\\n\\x1b[31mheart")
    'red\\\\n\\\\x1b[31mheart'
    """
    cut = text[:limit]
    if not cut.isprintable():
        cut = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)
    return cut if len(text) <= limit and len(cut) <= limit else f"{cut[: limit - 1]}…"


class MmgenError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1

    def __str__(self) -> str:
        return one_line(super().__str__())


class ConfigError(MmgenError):
    """A recipe, setting or argument is wrong."""

    exit_code = 10


class DataError(MmgenError):
    """A data set, sample or file of the user's is refused."""

    exit_code = 20


class StorageError(MmgenError):
    """Writing or reading one of our own folders failed."""

    exit_code = 40


class TrackingError(MmgenError):
    """The tracking server or the model registry cannot be used."""

    exit_code = 40


class OutrunError(TrackingError):
    """The champion is no longer the one that a decision was about."""


class WorkersError(MmgenError):
    """A process of a training in several processes, or the job of one on several nodes, has ended early."""

    exit_code = 40


class TrainingError(MmgenError):
    """Loss or gradients are not finite, or the loss has diverged."""

    exit_code = 10


class OutOfMemoryError(MmgenError):
    """A machine or a GPU has too little memory."""

    exit_code = 50


class BudgetError(MmgenError):
    """What a run may cost is spent."""

    exit_code = 70


def unknown(thing: str, value: str, choices: Iterable[str]) -> str:
    """One line that names an unknown value, the nearest choice and all of them.

    >>> unknown("recipe", "emojy", ["digits", "emoji"])
    "unknown recipe 'emojy'; did you mean 'emoji'? choose from: digits, emoji"
    """
    names = sorted(choices)
    near = difflib.get_close_matches(str(value), names, n=1)  # of JSON, it may be a number
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {thing} {value!r}; {hint}choose from: {', '.join(names)}"
