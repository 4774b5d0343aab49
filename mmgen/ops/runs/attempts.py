"""The attempt that runs now: it writes its ledger, and ends when the run has used up what it may cost.

Rows are synced every few seconds, so the budget holds whatever retries the stage: an attempt that was killed costs what
its newest row says.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

from mmgen.errors import (
    BudgetError,
    MmgenError,
    OutOfMemoryError,
    TrainingError,
    one_line,
)
from mmgen.ops.runs.ledger import (
    INTERRUPTED,
    MEMORY,
    NEAR,
    OUTCOMES,
    append_row,
    attempts,
    copy_to_store,
    cost,
    fetch,
    ledger_of,
    now,
)
from mmgen.ops.runs.machine import gpus, memory_limit, memory_used, peak_memory
from mmgen.ops.runs.run import Run

BEAT_SECONDS = 10.0
"""Most seconds of a killed attempt that its ledger does not know of."""
COPY_SECONDS = 60.0
"""The same where the ledger is read from the root's store."""
CHECK_SECONDS = 0.5
MOST_PARTS = 64
UNCOUNTED = ("ok", "configuration", "data", INTERRUPTED, "budget")
"""Outcomes that use up no attempt: nothing failed, or trying again is the user's to decide."""


@contextlib.contextmanager
def attempt(run: Run, stage: str) -> Iterator[Attempt]:
    """Write the attempt that the block is into the ledger; the stage's lock must be held.

    Raises:
        BudgetError: nothing is left of what the run may cost, before the block or while it ran; a block that is
            stopped for it ends as by SIGTERM, so training saves a checkpoint first.
        OutOfMemoryError: in place of Python's own.
        Whatever the block raises.
    """
    fetch(run)
    tried = Attempt(run, stage)
    tried.start()
    outcome, why = "bug", ""
    try:
        yield tried
        outcome = "ok"
    except (KeyboardInterrupt, SystemExit) as error:
        outcome = "budget" if tried.spent else INTERRUPTED
        if tried.spent:
            raise BudgetError(tried.spent) from error
        raise
    except MemoryError as error:
        outcome = MEMORY
        raise OutOfMemoryError("out of memory; run it where there is more, or with smaller sizes") from error
    except TrainingError as error:
        outcome, why = "training", str(error)
        raise
    except MmgenError as error:
        outcome, why = OUTCOMES.get(error.exit_code, "bug"), str(error)
        raise
    except Exception as error:
        why = one_line(f"a bug of mmgen, {type(error).__name__}: {error}")
        raise
    finally:
        tried.end(outcome, why)


class Attempt:
    """One try of a stage; a thread of it keeps the ledger and the budget."""

    spent = ""
    """Why the attempt was stopped, when the budget did that."""

    def __init__(self, run: Run, stage: str) -> None:
        self._run, self._stage = run, stage
        self._path, self._limits = ledger_of(run, stage), run.recipe.limits
        past = attempts(self._path)
        self._before = cost(run)
        self._number = len(past) + 1
        self._limit = memory_limit()
        self._over = threading.Event()
        self._began, self._cpu = time.monotonic(), time.process_time()
        # This is the first of so many processes, which do equal shares of the work on a GPU or on cores each.
        self._processes = run.recipe.training.processes if stage == "train" else 1
        # Where there is more memory than then, whole batches are tried again.
        short = sum(row["outcome"] == MEMORY and row["memory_limit_bytes"] >= self._limit for row in past)
        self._parts = min(2**short, MOST_PARTS)
        failed = sum(row["outcome"] not in UNCOUNTED for row in past)
        if failed >= self._limits.max_attempts:
            raise BudgetError(
                self._refusal("max_attempts", f"{failed} attempts failed, the last with {past[-1]['outcome']!r}")
            )
        if reason := self._budget():
            raise BudgetError(reason)

    def start(self) -> None:
        """Write the first row and watch from now on."""
        append_row(
            self._path,
            {
                "attempt": self._number,
                "started": now(),
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "parts": self._parts,
                "memory_limit_bytes": self._limit,
                **self._figures(),
            },
        )
        copy_to_store(self._run, self._stage)
        self._thread = threading.Thread(target=self._watch, name="attempt", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """Write what the attempt has cost so far."""
        append_row(self._path, {"attempt": self._number, **self._figures()})

    def end(self, outcome: str, why: str) -> None:
        """Write the last row.

        Args:
            why: the error in one line; empty without one.
        """
        self._over.set()
        self._thread.join()
        row = {"attempt": self._number, "ended": now(), "outcome": outcome, "peak_memory_bytes": peak_memory()}
        if why:
            row["error"] = why
        append_row(self._path, {**row, **self._figures()})
        copy_to_store(self._run, self._stage)

    def _figures(self) -> dict[str, float]:
        seconds = time.monotonic() - self._began
        return {
            "seconds": round(seconds, 3),
            "cpu_seconds": round(self._processes * (time.process_time() - self._cpu), 3),
            "gpu_seconds": round(seconds * (self._processes if gpus() and self._processes > 1 else gpus()), 3),
            "memory_bytes": memory_used(),
        }

    def _watch(self) -> None:
        copied = beaten = time.monotonic()
        near = False
        while not self._over.wait(CHECK_SECONDS):
            nearer = not near and memory_used() >= NEAR * self._limit
            if nearer or time.monotonic() - beaten > BEAT_SECONDS:
                near, beaten = near or nearer, time.monotonic()
                self.beat()
            if time.monotonic() - copied > COPY_SECONDS:
                copied = time.monotonic()
                copy_to_store(self._run, self._stage)
            if not self.spent and (reason := self._budget()) and callable(signal.getsignal(signal.SIGTERM)):
                self.spent = reason
                os.kill(os.getpid(), signal.SIGTERM)

    def _budget(self) -> str:
        figures = self._figures()
        for name in ("seconds", "gpu_seconds"):
            used = getattr(self._before, name) + figures[name]
            if used >= getattr(self._limits, f"max_{name}"):
                return self._refusal(f"max_{name}", f"the run has used {used:.1f} {name.replace('_', ' ')}")
        return ""

    def _refusal(self, limit: str, found: str) -> str:
        allowed = getattr(self._limits, limit)
        return (
            f"{found}, limits.{limit} is {allowed:g}; what each attempt cost is in {str(self._path)!r}; "
            f"to go on, mend the cause and raise it: --set limits.{limit}={2 * allowed:g}"
        )
