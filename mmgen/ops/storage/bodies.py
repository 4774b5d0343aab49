"""Parts of a file as bodies of requests: read from disk while they are sent."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
import time
from pathlib import Path

from mmgen.ops.storage.errors import Late

CHUNK = 1 << 20


def md5(body: io.BytesIO | Slice) -> str:
    """Of everything in `body`, which is wound back, as S3 wants it in a header."""
    found = hashlib.md5(usedforsecurity=False)
    while chunk := body.read(CHUNK):
        found.update(chunk)
    body.seek(0)
    return base64.b64encode(found.digest()).decode()


class Slice(io.RawIOBase):
    """A part of a file to send; reading it fails once time is up or the upload was given up."""

    def __init__(self, path: Path, start: int, size: int, ends: float, stop: threading.Event | None = None) -> None:
        self._file = path.open("rb")
        self._start, self._size, self._ends, self._stop = start, size, ends, stop
        self.seek(0)

    def __len__(self) -> int:
        return self._size

    def read(self, size: int | None = -1) -> bytes:
        if time.monotonic() >= self._ends or (self._stop is not None and self._stop.is_set()):
            raise Late
        left = self._size - self.tell()
        return self._file.read(left if size is None or size < 0 else min(size, left))

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self.tell(), self._size)[whence]
        return self._file.seek(self._start + base + offset) - self._start

    def tell(self) -> int:
        return self._file.tell() - self._start

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()
