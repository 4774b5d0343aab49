"""What dead processes left below a root: nobody reads it, and only a new try of the same stage would remove it."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from mmgen.files import is_sealed


def orphans(root: Path, older_than: float) -> list[Path]:
    """Paths that can be deleted: nobody holds their stage, and nothing in them changed for `older_than` seconds.

    Workplaces of stages that were killed or failed (their checkpoints with them, so `older_than` says how long such a
    stage may still be taken up; those of a stage that is sealed are of no use at once), half-written files and
    copies, lock files of the dead.
    """
    now, found = time.time(), []
    for path in sorted((root / "stages").glob("*/*")):
        key = path.name.removesuffix(".work").removesuffix(".lock")
        if path.suffix == ".work":
            dead = is_sealed(path.with_name(key)) or now - _changed(path) > older_than
        else:
            dead = path.suffix in (".lock", ".part") and now - _changed(path) > older_than
        if dead and not held(path.with_name(f"{key}.lock")):
            found.append(path)
    return found


def held(lock: Path) -> bool:
    """Whether a living process holds a lock file."""
    try:
        handle = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _changed(path: Path) -> float:
    """When anything in it was last written."""
    return max((inner.lstat().st_mtime for inner in (path, *path.rglob("*"))), default=0.0)
