"""CPU time in units of a fixed piece of work that is timed beside it, so that a slow or busy machine changes nothing.

One unit is about eight milliseconds on a core of 2024.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


def unit() -> float:
    """CPU seconds that the fixed piece of work takes here and now: Python objects, hashing, compression, sorting."""
    began = time.process_time()
    table = {number * 2_654_435_761 % 65_537: str(number) for number in range(40_000)}
    content = bytes(range(256)) * 4096
    hashlib.sha256(content).digest()
    zlib.crc32(zlib.compress(content, 1))
    sorted(table.values())
    return time.process_time() - began


@dataclass
class Effort:
    """What a block of code has cost."""

    units: float = 0.0


@contextmanager
def effort() -> Iterator[Effort]:
    """Measure the CPU time of the block in units, by the slower of a unit before the block and one after it."""
    made = Effort()
    before, began = unit(), time.process_time()
    try:
        yield made
    finally:
        spent = time.process_time() - began
        made.units = spent / max(before, unit())
