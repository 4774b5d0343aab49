"""What registration asks of a run before it speaks to the registry, which itself takes anything."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from mmgen.errors import ConfigError, StorageError
from mmgen.files import open_sealed, read_json
from mmgen.ops.gate.decision import Decision

if TYPE_CHECKING:
    from mmgen.ops.runs.run import Run

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,126}[A-Za-z0-9])?")


def plain_name(name: str) -> str:
    """`name`, when it can be the name of a model in MLflow, in an address and in a folder alike.

    Raises:
        ConfigError: it cannot.

    >>> plain_name("mmgen-emoji-on-pets")
    'mmgen-emoji-on-pets'
    """
    if not _NAME.fullmatch(name):
        shown = name if len(name) <= 60 else name[:60] + "..."
        raise ConfigError(
            f"{shown!r} cannot be a model's name: letters, digits, - and _, at most 128; rename the data set"
        )
    return name


def candidate(run: Run) -> tuple[Path, dict[str, Any]]:
    """Folder of the model that the run trained, and the verdict of the gate on it.

    Raises:
        StorageError: a folder is missing, a link, not whole or another run's; the verdict is none.
    """
    for stage in ("train", "gate"):
        folder = run.folder(stage)
        if folder.is_symlink():
            raise StorageError(f"{str(folder)!r} is a link, not what stage {stage} made; remove it and run again")
        made_for = open_sealed(folder).get("key")
        if made_for != run.keys.stages[stage]:
            raise StorageError(
                f"{str(folder)!r} was made under key {str(made_for)[:40]!r}, not its own; remove it and run again"
            )
    path = run.folder("gate") / "verdict.json"
    verdict = read_json(path)
    try:
        json.dumps(verdict, allow_nan=False)
        if verdict["decision"] not in get_args(Decision):
            raise ValueError(f"decision {str(verdict['decision'])[:40]!r}")
        if not all(isinstance(reason, str) for reason in verdict["reasons"]):
            raise TypeError("reasons are not text")
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{str(path)!r} is not a verdict ({error}); remove its folder and run again") from error
    return run.folder("train") / "model", verdict
