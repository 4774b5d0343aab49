"""Locks: what only one process of a machine may make at a time; the kernel frees the lock of a holder that dies."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from mmgen.errors import StorageError
from mmgen.files import make_folder


@contextlib.contextmanager
def locked(final: Path, wait: float) -> Iterator[None]:
    """Hold the lock of something that only one process may make; the lock file says who holds it.

    Args:
        final: what is being made; the lock lies beside it.
        wait: seconds to wait for another holder.

    Raises:
        StorageError: another process holds it, and still did after `wait` seconds.
    """
    path = final.with_name(final.name + ".lock")
    make_folder(path.parent)
    deadline = time.monotonic() + wait
    while (handle := _lock(path)) is None:
        if time.monotonic() >= deadline:
            with contextlib.suppress(FileNotFoundError):  # it has ended just now: the next try will do
                who = path.read_text() or "another process"
                raise StorageError(
                    f"{str(final)!r} is being made by {who}; wait for it to end, or stop it and run again"
                )
        time.sleep(0.1)
    try:
        since = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _lock(path: Path) -> int | None:
    """Handle of the locked file; None when another process holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The holder before us may have removed the file between our open and our lock: then it guards nothing.
        if os.fstat(handle).st_ino == path.stat().st_ino:
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(handle)
    return None
