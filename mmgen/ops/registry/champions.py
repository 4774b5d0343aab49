"""Who is champion, and how that changes: by the gate, by hand, and back again.

A change is a move in the log of promotions (`mmgen.ops.registry.promotions`); then the aliases of the registry follow
the log. Where somebody is killed between the two, the same call again, or the next change, sets the aliases; a slow one
who comes late sets what the log says by then, not what it had in mind.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmgen.errors import ConfigError, OutrunError, TrackingError
from mmgen.ops.registry import promotions
from mmgen.ops.registry.promotions import Move
from mmgen.ops.registry.registry import ModelVersion, holder, version_of
from mmgen.ops.storage.exclusive import Shelf, shelf
from mmgen.ops.tracking import concurrent_writes
from mmgen.ops.tracking.client import connected, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOBODY = ""
"""In place of a version: there is no champion."""

LOOKS = 4
"""After so many an alias that does not fit the log counts as set by hand."""


def move(
    root: Path, name: str, version: str, action: str, reason: str, *, expected: str | None = None, dry_run: bool = False
) -> ModelVersion:
    """Make `version` the champion, if the champion is the one that is `expected`.

    Args:
        action: `gate`, `promote` or `rollback`, for the log.
        expected: version that must be champion now, `NOBODY` for none; None takes whoever is.
        dry_run: check everything, change nothing.

    Raises:
        ConfigError: no such version.
        StorageError: the log was altered, or its store refuses.
        OutrunError: the champion is another one, or somebody else moved it at this moment.
        TrackingError: the registry cannot be used, or its aliases were set by hand.
    """
    ground = shelf(root)
    with connected(tracking_uri(root)) as client:
        wanted = version_of(client, name, version)
        known, now = current(client, ground, name)
        if now != version and expected is not None and now != expected:
            raise OutrunError(
                f"the champion of {name} is {_said(now)}, not {_said(expected)} as was expected: somebody else changed "
                "it; see: mmgen history --moves, then run again"
            )
        if now != version and not dry_run:
            made = promotions.append(
                ground,
                known,
                model=name,
                version=version,
                before=now,
                action=action,
                reason=reason,
                run_key=wanted.tags.get("mmgen.run_key", ""),
                model_sha256=wanted.tags.get("mmgen.model_sha256", ""),
            )
            if made is None:
                raise OutrunError(
                    f"somebody else changed the champion of {name} at this moment; see: mmgen history --moves, "
                    "then run again"
                )
        if not dry_run:
            settle(client, ground, name)
        return version_of(client, name, version)


def settle(client: MlflowClient, ground: Shelf, name: str) -> None:
    """Set the aliases `champion` and `previous` as the log's last move says; many may do so at once.

    Whoever loses a race for an alias, or finds that the log has moved on, looks again what it says by then.

    Raises:
        TrackingError: others kept changing the aliases as long as this was tried.
    """
    for _ in concurrent_writes.rounds():
        with concurrent_writes.passed_over():
            if _follow(client, ground, name):
                return
    raise TrackingError(f"the champion of {name} keeps changing; see: mmgen history --moves, then run again")


def _follow(client: MlflowClient, ground: Shelf, name: str) -> bool:
    """Set the aliases once; whether they are as the log says afterwards."""
    known = promotions.moves(ground, name)
    if not known:
        return True
    last = known[-1]
    if last.before != NOBODY:
        client.set_registered_model_alias(name, "previous", last.before)
    client.set_registered_model_alias(name, "champion", last.version)
    if holder(client, name, "challenger") == last.version:
        client.delete_registered_model_alias(name, "challenger")
    return len(promotions.moves(ground, name)) == len(known) and holder(client, name, "champion") == last.version


def current(client: MlflowClient, ground: Shelf, name: str) -> tuple[list[Move], str]:
    """The log, and the champion's version by it, or by the registry where there is no log yet; `NOBODY` for none.

    Raises:
        TrackingError: the registry's champion is one that the log knows nothing of.
    """
    for number in concurrent_writes.rounds():
        known = promotions.moves(ground, name)
        said = holder(client, name, "champion") or NOBODY
        if not known:
            return known, said
        last = known[-1]
        if said in (last.version, last.before):  # the latter: whoever moved it was killed before the alias followed
            return known, last.version
        # Somebody who moves on in between, or comes late, shows another alias for a moment.
        if number >= LOOKS - 1 and len(promotions.moves(ground, name)) == len(known):
            break
    raise TrackingError(
        f"the registry's champion of {name} is {_said(said)}, by the log of promotions it is {_said(last.version)}: "
        f"the alias was set by hand; set it back to {last.version}, then promote with mmgen"
    )


def check_verdict(root: Path, name: str, version: str) -> None:
    """Refuse a version that the gate did not promote.

    Raises:
        ConfigError: says what the gate said, and how to promote it all the same.
    """
    with connected(tracking_uri(root)) as client:
        found = version_of(client, name, version)
    verdict = found.tags.get("mmgen.verdict", "")
    if verdict != "promote":
        raise ConfigError(
            f"the gate said {verdict or 'nothing'!r} of {name} version {version}; to make it champion all the same, "
            "repeat with --approve"
        )


def promote(root: Path, name: str, version: str, *, expected: str | None = None, dry_run: bool = False) -> ModelVersion:
    """Make `version` the champion by hand; the champion of now becomes `previous`.

    Raises:
        As for `move`.
    """
    return move(root, name, version, "promote", "by hand", expected=expected, dry_run=dry_run)


def rollback(root: Path, name: str, *, dry_run: bool = False) -> ModelVersion:
    """Make the champion before this one the champion again.

    Raises:
        ConfigError: there is none.
        As for `move`.
    """
    with connected(tracking_uri(root)) as client:
        known, now = current(client, shelf(root), name)
        before = known[-1].before if known else holder(client, name, "previous")
    if not before:
        raise ConfigError(f"{name} has no previous champion to go back to; see: mmgen history")
    return move(root, name, before, "rollback", f"back from version {now}", expected=now, dry_run=dry_run)


def _said(version: str) -> str:
    return f"version {version}" if version else "nobody"
