"""Files of others: plain ones alone, never more than a limit, and the file that was checked is the file that is read.

Nothing here follows a link, waits for a pipe or opens a device. Text of others in a message is made one line by
`mmgen.errors`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from mmgen.errors import DataError

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NOT_PLAIN = "not a plain file (link, pipe, device or folder); put the file itself here"


def is_plain(path: Path | str) -> bool:
    """Whether there is a plain file of this name: no link, pipe, device or folder."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def open_plain(path: Path | str, name: str) -> BinaryIO:
    """Open a plain file to read its bytes.

    Args:
        path: where it is.
        name: what to call it in errors.

    Raises:
        DataError: missing, not a plain file, or not readable.
    """
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):  # before it is opened: to open some devices is to use them
            raise DataError(f"{name!r}: {_NOT_PLAIN}")
        handle = os.open(path, _FLAGS)  # which fails on a link, and does not wait, should it have been changed
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise DataError(f"{name!r}: {_NOT_PLAIN}")
    except FileNotFoundError as error:
        raise DataError(f"{name!r}: no such file") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no file can have that name"
        raise DataError(f"{name!r}: cannot be read ({reason})") from error
    return os.fdopen(handle, "rb")


def read_plain(path: Path | str, limit: int, name: str) -> bytes:
    """All bytes of a plain file.

    Args:
        path: where it is.
        limit: most bytes; more are refused before any is read.
        name: what to call it in errors.

    Raises:
        DataError: missing, not a plain file, not readable, too large, or it grows while it is read.
    """
    with open_plain(path, name) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise DataError(f"{name!r}: {size} bytes; want at most {limit}")
        try:
            data = file.read(size + 1)
        except OSError as error:
            raise DataError(f"{name!r}: cannot be read ({error.strerror})") from error
    if len(data) > size:
        raise DataError(f"{name!r}: it grew while it was read; wait until it is whole")
    return data
