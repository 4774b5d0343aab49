"""How often and how long an operation on an object store is tried."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mmgen.ops.storage.errors import Late, PassingError, flawed

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one operation on a store may take."""

    attempts: int = 5
    """Requests for one answer."""
    connect_seconds: float = 5.0
    read_seconds: float = 10.0
    """Silence of the server."""
    seconds: float = 45.0
    """Of a whole operation, all attempts and waits together ..."""
    bytes_per_second: float = 1e6
    """... and as much more as its bytes take at this rate, the slowest that is put up with."""
    pause: float = 0.5
    """Longest wait before the second attempt, doubled from there; the real one is drawn below it."""
    part_bytes: int = 16 << 20
    """Of the parts in which larger files go up."""
    threads: int = 4
    """Parts that go up at once."""


class Attempts:
    """Tries the requests of one operation until they work, they cannot work, or its time is up.

    Args:
        where: address of the object, for messages.
        size: bytes that the operation moves.
    """

    def __init__(self, limits: Limits, where: str, size: int = 0) -> None:
        self._limits, self._where = limits, where
        self._ends = time.monotonic() + limits.seconds + size / limits.bytes_per_second

    def __call__(self, action: Callable[[float], T]) -> T:
        """Result of `action`, which is told when, by `time.monotonic`, the operation has to end.

        Raises:
            StorageError: the last attempt failed, another one cannot help, or time is up.
        """
        pause = self._limits.pause
        for attempt in range(1, self._limits.attempts + 1):
            try:
                with flawed(self._where):
                    if time.monotonic() >= self._ends:
                        raise Late
                    return action(self._ends)
            except PassingError:
                wait = random.uniform(0, pause)  # jitter, or all pods come back at once
                if attempt == self._limits.attempts or time.monotonic() + wait >= self._ends:
                    raise
                time.sleep(wait)
                pause *= 2
        raise AssertionError("the last attempt returns or raises")
