"""The log of promotions: who made which version champion, when, over whom and why.

    promotions/<model>/000001     the first move
    promotions/<model>/000002     the second; it holds the sha256 of the first

Appending is the one moment in which a promotion happens: a shelf takes each number once, so of two who promote at
once one finds the number taken. The registry's aliases follow the log. Each move holds the hash of the one before, so
that a change of an old one is found.
"""

from __future__ import annotations

import dataclasses
import datetime
import getpass
import hashlib
import json
import os
from dataclasses import dataclass

from mmgen.errors import StorageError
from mmgen.ops.storage.exclusive import Shelf


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """One change of champion."""

    number: int
    """From 1."""
    model: str
    """Name in the registry, such as mmgen-emoji."""
    version: str
    """The champion from now on."""
    before: str
    """The champion until now; empty for the first."""
    action: str
    """`gate` (its verdict), `promote` (by hand) or `rollback`."""
    reason: str
    run_key: str
    model_sha256: str
    by: str
    """Who asked for it: MMGEN_ACTOR, else the user of the machine."""
    at: str
    """UTC, such as 2026-11-25T08:00:00Z."""
    previous: str
    """sha256 of the move before; empty for the first."""

    def content(self) -> bytes:
        """As it is kept."""
        return (json.dumps(dataclasses.asdict(self), sort_keys=True, indent=1) + "\n").encode()

    def digest(self) -> str:
        """sha256 of its content."""
        return hashlib.sha256(self.content()).hexdigest()


def moves(shelf: Shelf, model: str) -> list[Move]:
    """All moves of a model, the oldest first.

    Raises:
        StorageError: one is missing or was altered.
    """
    found: list[Move] = []
    for number, name in enumerate(shelf.names(f"promotions/{model}"), start=1):
        content = shelf.read(name) or b""
        try:
            move = Move(**json.loads(content))
        except (ValueError, TypeError) as error:
            raise StorageError(f"promotion {name!r} cannot be read ({error}); restore the log from a backup") from error
        before = found[-1].digest() if found else ""
        if move.number != number or move.model != model or move.previous != before or move.content() != content:
            raise StorageError(
                f"the log of promotions of {model} was altered at number {number} ({name!r}); restore it from a backup"
            )
        found.append(move)
    return found


def append(
    shelf: Shelf,
    known: list[Move],
    *,
    model: str,
    version: str,
    before: str,
    action: str,
    reason: str,
    run_key: str,
    model_sha256: str,
) -> Move | None:
    """Add a move behind those that are `known`; None when somebody else was first."""
    move = Move(
        number=len(known) + 1,
        model=model,
        version=version,
        before=before,
        action=action,
        reason=reason,
        run_key=run_key,
        model_sha256=model_sha256,
        by=os.environ.get("MMGEN_ACTOR") or _user(),
        at=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        previous=known[-1].digest() if known else "",
    )
    return move if shelf.add(f"promotions/{model}/{move.number:06d}", move.content()) else None


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user of a container that no list names
        return f"uid {os.getuid()}"
