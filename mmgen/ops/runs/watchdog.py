"""A stage that hangs is ended: a step that never returns would hold its machine for ever."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

from mmgen.errors import StorageError
from mmgen.progress import Progress, clock


class Watched(Progress):
    """Passes on every call and remembers when the last one came."""

    def __init__(self, inner: Progress) -> None:
        self._inner = inner
        self.last = time.monotonic()

    def stage(self, name: str, state: str, seconds: float = 0.0) -> None:
        self.last = time.monotonic()
        self._inner.stage(name, state, seconds)

    def start(self, stage: str, total: int, unit: str) -> None:
        self.last = time.monotonic()
        self._inner.start(stage, total, unit)

    def update(self, done: int, **figures: float) -> None:
        self.last = time.monotonic()
        self._inner.update(done, **figures)

    def note(self, text: str) -> None:
        self.last = time.monotonic()
        self._inner.note(text)

    def done(self) -> None:
        self.last = time.monotonic()
        self._inner.done()

    def error(self, stage: str, message: str, exit_code: int) -> None:
        self._inner.error(stage, message, exit_code)

    def close(self) -> None:
        self._inner.close()


@contextlib.contextmanager
def watched(progress: Progress, seconds: float, stalled: Callable[[], None]) -> Iterator[Progress]:
    """Inside the block the yielded progress must be told something at least every `seconds`.

    When it is not, the stacks of all threads go to standard error, `stalled` is called and the process ends with the
    exit code of a fault that may pass. Code that holds Python's lock for ever cannot be seen from inside.
    """
    seen, over = Watched(progress), threading.Event()

    def watch() -> None:
        while not over.wait(min(1.0, seconds / 4)):
            if time.monotonic() - seen.last > seconds:
                line = f"no progress for {clock(seconds)}; the stacks of all threads follow; run again to go on"
                print(f"mmgen: {line}", file=sys.stderr, flush=True)
                faulthandler.dump_traceback(all_threads=True)
                stalled()
                os._exit(StorageError.exit_code)

    thread = threading.Thread(target=watch, name="watchdog", daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
