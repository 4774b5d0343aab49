"""Stages: run one under its key, once, and seal what it made.

    <root>/stages/train/0123456789abcdef/        sealed: the only thing that anybody reads
    <root>/stages/train/0123456789abcdef.work/   in progress: `out` (what will be sealed) and `scratch` (what
                                                 a killed run resumes from); kept when a stage fails
    <root>/stages/train/0123456789abcdef.lock    held while it runs; the kernel frees it when the holder dies

A stage that finds a sealed folder under its key returns it. A folder whose bytes no longer match their seal is
thrown away and made again. Where the root is a copy of a store (`mmgen.ops.storage.roots`), what is sealed there counts
as well: it is fetched, and what is made here is uploaded before it counts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmgen.errors import StorageError
from mmgen.files import is_sealed, open_sealed, refusal, seal
from mmgen.ops.storage.folders import pull_folder, push_folder
from mmgen.ops.storage.locks import locked
from mmgen.ops.storage.roots import store_of

REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
"""Errors of a disk that is full or not ours to write: the user's to mend, not a bug."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageResult:
    """What became of one stage."""

    name: str
    state: Literal["ran", "cached"]
    folder: Path
    """Sealed."""
    seconds: float


def run_stage(
    name: str, key: str, root: Path, work: Callable[[Path], object], *, facts: dict[str, Any], wait: float = 0
) -> StageResult:
    """Return the sealed output of a stage, making it with `work(out)` when there is none.

    Args:
        work: fills the empty folder `out`; may keep what it needs to resume in `scratch(out)`.
        facts: provenance for the seal.
        wait: seconds to wait for another process that makes the same output.

    Raises:
        StorageError: another process is at it; the disk is full or not writable; the root's store refuses.
        Whatever `work` raises; what it wrote is then left in `<key>.work` until the next try.
    """
    started = time.monotonic()
    final = root / "stages" / name / key
    if flaw(final) is None:
        with contextlib.suppress(OSError):  # a root that cannot be written still serves
            os.utime(final)  # used now: `mmgen gc` goes by it
        return StageResult(name=name, state="cached", folder=final, seconds=time.monotonic() - started)
    with _disk(final), locked(final, wait):
        problem = flaw(final)
        if problem is None:  # the process that was waited for has made it
            return StageResult(name=name, state="cached", folder=final, seconds=time.monotonic() - started)
        if final.exists():
            print(f"mmgen: stage {name} runs again: {problem}", file=sys.stderr)
            shutil.rmtree(final)
        store = store_of(root)
        if store is not None and pull_folder(store, place(name, key), final):
            return StageResult(name=name, state="cached", folder=final, seconds=time.monotonic() - started)
        out = workplace(final) / "out"
        if flaw(out) is not None:  # else it was made before, and the store failed
            if out.exists():
                shutil.rmtree(out)
            scratch(out).mkdir(parents=True, exist_ok=True)
            out.mkdir()
            work(out)
            seal(out, **facts)
        if store is None or push_folder(store, out, place(name, key)):
            out.replace(final)
        else:  # another one was first: all take what it made
            pull_folder(store, place(name, key), final)
        shutil.rmtree(workplace(final))
    return StageResult(name=name, state="ran", folder=final, seconds=time.monotonic() - started)


def sealed_output(root: Path, name: str, key: str, wait: float = 60) -> Path | None:
    """The sealed output of a stage, fetched from the root's store when it is only there; None when nobody made it.

    Raises:
        StorageError: the store refuses; another process is at it.
    """
    final = root / "stages" / name / key
    store = store_of(root)
    if not is_sealed(final) and store is not None:
        with _disk(final), locked(final, wait):
            if not is_sealed(final):
                pull_folder(store, place(name, key), final)
    return final if is_sealed(final) else None


def scratch(out: Path) -> Path:
    """Folder beside a stage's `out` that outlives a kill and is removed once the stage is sealed."""
    return out.with_name("scratch")


def flaw(folder: Path) -> str | None:
    """None when every byte of `folder` matches its seal, else one line that says what is wrong."""
    try:
        open_sealed(folder)
    except StorageError as error:
        return str(error)
    return None


def place(stage: str, key: str) -> str:
    """Where the output of a stage lies in a store."""
    return f"stages/{stage}/{key}"


def workplace(final: Path) -> Path:
    return final.with_name(final.name + ".work")


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    """A disk that refuses becomes one line with the way out; any other OSError is a bug and passes."""
    try:
        yield
    except OSError as error:
        if error.errno in REFUSED:
            named = Path(error.filename) if isinstance(error.filename, str) else path
            raise StorageError(refusal(named, error)) from error
        raise
