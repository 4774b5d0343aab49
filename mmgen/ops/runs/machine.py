"""What the process may use of its machine, and what it uses: Linux's own figures, bytes."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path

CGROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Version 2, version 1."""


def memory_limit() -> int:
    """Memory that the container may use, at most that of the machine."""
    limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in CGROUP:
        with contextlib.suppress(OSError, ValueError):  # absent, or "max"
            limit = min(limit, int(path.read_text()))
    return limit


def memory_used() -> int:
    """Resident memory of this process now; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def peak_memory() -> int:
    """The most that was resident since the process began."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def gpus() -> int:
    """GPUs that this process holds; asking takes none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return int(torch.cuda.device_count())
