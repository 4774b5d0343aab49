"""A stage as a component's parameters describe it: checked, opened, and its errors told to whoever watches."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmgen.errors import ConfigError, MmgenError
from mmgen.ops.runs.run import Run, open_run
from mmgen.ops.stages.stage import watched_stage
from mmgen.ops.storage.objects import SCHEME
from mmgen.ops.storage.roots import open_root
from mmgen.progress import Progress, choose

INTERRUPTED = 60
"""Exit code of a run that was stopped."""

_PLAIN = re.compile(r"[A-Za-z0-9_.,=+:; \n-]*")
_PATH = re.compile(r"[^\x00-\x1f{}$`\"\\]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A stage about to run in a component."""

    run: Run
    progress: Progress


@contextlib.contextmanager
def opened(stage: str, recipe: str, settings: str, root: str, data: str, *, events: str | None) -> Iterator[Job]:
    """Open the run that a component's parameters describe; an error inside the block is told to whoever watches.

    Args:
        settings: overrides, joined by `;` or line ends.
        root, data: a folder, or `s3://bucket/prefix`.
        events: file for progress and errors; None for plain lines on stderr.
    """
    progress = choose(events, sys.stderr)
    try:
        plain(recipe, settings, root, data)
        _check_places(root, data)
        run = open_run(recipe, split(settings), open_root(root), open_root(data))
        with watched_stage(stage, run, progress) as seen:
            yield Job(run=run, progress=seen)
    except MmgenError as error:
        progress.error(stage, f"stage {stage}: {error}", error.exit_code)
        raise
    except Exception as error:
        progress.error(stage, f"stage {stage}: a bug of mmgen, {type(error).__name__}: {error}", 1)
        raise
    except (KeyboardInterrupt, SystemExit):
        progress.error(stage, f"stage {stage}: stopped; run again to go on", INTERRUPTED)
        raise
    finally:
        progress.close()
        # The task's process ends soon: not collecting what MLflow and torch leave saves a second of each task.
        gc.freeze()


def split(settings: str) -> list[str]:
    """Settings from the one string that a pipeline parameter is.

    >>> split("training.steps=5; seed=1")
    ['training.steps=5', 'seed=1']
    """
    return [part.strip() for part in re.split(r"[;\n]", settings) if part.strip()]


def plain(recipe: str, settings: str, *folders: str) -> None:
    """Refuse characters that KFP or a shell could take for more than text.

    Raises:
        ConfigError: names the parameter and the character.
    """
    for name, text, allowed in (
        ("recipe", recipe, _PLAIN),
        ("settings", settings, _PLAIN),
        *(("folder", folder, _PATH) for folder in folders),
    ):
        good = allowed.match(text)
        end = good.end() if good else 0
        if end < len(text):
            raise ConfigError(f"{name} {text!r}: the character {text[end]!r} is not allowed; leave it out")


def _check_places(root: str, data: str) -> None:
    """In a pod, refuse a folder that only the pod would have.

    Raises:
        ConfigError: names the parameter and the way out.
    """
    for name, place in (("root", root), ("data", data)):
        if os.environ.get("KUBERNETES_SERVICE_HOST") and not place.startswith(SCHEME) and not Path(place).is_dir():
            raise ConfigError(
                f"{name} {place!r} is no folder of this pod; start the run again with {name} s3://bucket/prefix, or "
                "from a pipeline that mmgen publish has uploaded: its form is filled in"
            )
