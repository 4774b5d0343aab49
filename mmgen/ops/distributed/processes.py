"""Child processes of a stage: they are stopped in order when their parent is, and end with it when it is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmgen.errors import BudgetError, ConfigError, DataError, OutOfMemoryError, WorkersError
from mmgen.ops.runs.keys import CODE
from mmgen.ops.runs.run import Run

GRACE_SECONDS = 60.0
"""How long processes that were asked to stop may take; torchrun itself kills its own after 30."""

CHILD = "MMGEN_CHILD"
"""Variable that tells a process that its parent holds the other end of its standard input."""

ERRORS = {each.exit_code: each for each in (ConfigError, DataError, WorkersError, OutOfMemoryError, BudgetError)}
"""Exit code of an error that a process reported -> the same error here."""


@contextlib.contextmanager
def child(command: Sequence[str], environment: Mapping[str, str] = {}) -> Iterator[subprocess.Popen[bytes]]:
    """Start `command` with the code of this process; the block waits for its end.

    When the block is left by an error, or this process gets SIGTERM, the child gets SIGTERM once and
    `GRACE_SECONDS` to end. Signals to the process group of this process do not reach it.

    Args:
        command: program and arguments.
        environment: variables added to those of this process.

    Raises:
        KeyboardInterrupt: SIGTERM came; the child has ended.
    """
    path = os.pathsep.join([str(CODE), *filter(None, [os.environ.get("PYTHONPATH")])])
    started = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # nobody writes to it: its end tells the child that this process is gone
        start_new_session=True,  # a signal to the group would reach the child twice
        env={**os.environ, "PYTHONPATH": path, CHILD: "1", **environment},
    )
    with interrupted():
        try:
            yield started
        except BaseException:
            started.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(GRACE_SECONDS)
            raise
        finally:
            if started.poll() is None:
                started.kill()
            assert started.stdin is not None
            started.stdin.close()
            started.wait()


def end_with_parent() -> None:
    """In a process that `child` started: end at once when the parent is gone, even by SIGKILL.

    The next attempt must not meet this one. Processes without such a parent are left alone.
    """
    if not os.environ.get(CHILD):
        return

    def watch() -> None:
        os.read(0, 1)
        os._exit(WorkersError.exit_code)

    threading.Thread(target=watch, name="parent", daemon=True).start()


@contextlib.contextmanager
def interrupted() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt inside the block."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt("asked to stop")

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours."""
    return [sys.executable, "-m", module, *arguments]


def worker_arguments(run: Run, root: str, data: str, kfp_run: str) -> list[str]:
    """What torchrun is to start in each process of a training, as it takes it: one machine and many say it alike."""
    return ["-m", "mmgen.ops.stages.worker", run.recipe.name, "; ".join(run.settings), root, data, kfp_run]
