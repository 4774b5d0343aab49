"""The ledger of attempts: what each try of a stage cost and how it ended, and the budget that this leaves.

    <root>/stages/train/0123456789abcdef.attempts.jsonl    beside the stage's output; a row when an attempt starts, a
                                                           row every few seconds, a row when it ends

Rows are appended and synced, so the budget holds whatever retries the stage: an attempt that was killed has no last
row, and costs what its newest one says. Where the root has a store, the ledger is copied there
(`<store>/attempts/train/0123456789abcdef.jsonl`) when an attempt starts, every minute and when it ends, so that the
next pod goes on with it, and whoever watches a job of other pods can read why it ended.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgen.errors import (
    BudgetError,
    ConfigError,
    MmgenError,
    OutOfMemoryError,
    StorageError,
    TrainingError,
    one_line,
)
from mmgen.files import write_bytes
from mmgen.ops.runs.keys import STAGES
from mmgen.ops.runs.machine import gpus, memory_limit, memory_used, peak_memory
from mmgen.ops.runs.stages import Run
from mmgen.ops.storage.roots import store_of

BEAT_SECONDS = 10.0
"""Most seconds of a killed attempt that its ledger does not know of."""
COPY_SECONDS = 60.0
"""The same where the ledger is read from the root's store."""
CHECK_SECONDS = 0.5
NEAR = 0.9
"""An attempt that was killed with so much of the memory in use was killed for it."""
MOST_PARTS = 64

KILLED, MEMORY, INTERRUPTED = "killed", "memory", "interrupted"
OUTCOMES = {10: "configuration", 20: "data", 40: "transient", 50: MEMORY, 60: INTERRUPTED, 70: "budget"}
"""Exit code of an error -> outcome; whatever has none is a bug."""
UNCOUNTED = ("ok", "configuration", "data", INTERRUPTED, "budget")
"""Outcomes that use up no attempt: nothing failed, or trying again is the user's to decide."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What attempts have cost."""

    attempts: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0

    def figures(self) -> dict[str, float]:
        """By name, nothing without an attempt.

        Money only where `MMGEN_PRICE_CPU_HOUR` or `MMGEN_PRICE_GPU_HOUR` says what an hour costs.
        """
        if not self.attempts:
            return {}
        found = {name: round(getattr(self, name), 3) for name in self.__slots__}
        prices = {name: os.environ.get(f"MMGEN_PRICE_{name.upper()}_HOUR") for name in ("cpu", "gpu")}
        if any(prices.values()):
            hours = {name: found[f"{name}_seconds"] / 3600 for name in prices}
            found["money"] = round(sum(_price(name, text) * hours[name] for name, text in prices.items() if text), 4)
        return found

    def text(self) -> str:
        """One line for a person."""
        found = self.figures()
        money = f", {found['money']:.2f} at the prices of this machine" if "money" in found else ""
        return (
            f"{self.attempts} attempts, {self.seconds:.0f} s, {self.cpu_seconds:.0f} CPU-seconds, "
            f"{self.gpu_seconds:.0f} GPU-seconds{money}"
        )


def ledger(run: Run, stage: str) -> Path:
    """Where the attempts of a stage are written down."""
    folder = run.folder(stage)
    return folder.with_name(f"{folder.name}.attempts.jsonl")


def fetch(run: Run) -> None:
    """Bring the ledgers of all stages of a run from the root's store, where other pods have written to them.

    Raises:
        StorageError: the store refuses.
    """
    if (store := store_of(run.root)) is None:
        return
    for stage in STAGES:
        path, there = ledger(run, stage), _place(run, stage)
        if store.exists(there):
            content, _ = store.get_bytes(there)
            if not path.exists() or len(content) > path.stat().st_size:  # rows are only ever added
                write_bytes(path, content)


def attempts(path: Path) -> list[dict[str, Any]]:
    """The attempts in a ledger, in order; each is its rows, the later over the earlier."""
    found: dict[int, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):  # the last row of a machine that lost power may be cut short
            row = json.loads(line)
            found[row["attempt"]] = {**found.get(row["attempt"], {}), **row}
    for attempt in found.values():
        if "outcome" not in attempt:
            near = attempt["memory_bytes"] >= NEAR * attempt["memory_limit_bytes"]
            attempt["outcome"] = MEMORY if near else KILLED
    return list(found.values())


def cost(run: Run) -> Cost:
    """What all attempts of all stages of a run have cost so far."""
    rows = [row for stage in STAGES for row in attempts(ledger(run, stage))]
    sums = {name: sum(row[name] for row in rows) for name in ("seconds", "cpu_seconds", "gpu_seconds")}
    return Cost(attempts=len(rows), **sums)


def parts(run: Run, stage: str) -> int:
    """How many parts the attempt that runs now takes a batch in: twice as many after each that ran out of memory."""
    rows = attempts(ledger(run, stage))
    return int(rows[-1]["parts"]) if rows else 1


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


def end_open(run: Run, stage: str, outcome: str) -> None:
    """End the last attempt of a stage from outside of it, if it is still open."""
    path = ledger(run, stage)
    rows = attempts(path)
    if rows and "ended" not in rows[-1]:
        _append(path, {"attempt": rows[-1]["attempt"], "ended": _now(), "outcome": outcome})
        _copy(run, stage)


class Attempt:
    """One try of a stage; a thread of it keeps the ledger and the budget."""

    spent = ""
    """Why the attempt was stopped, when the budget did that."""

    def __init__(self, run: Run, stage: str) -> None:
        self._run, self._stage = run, stage
        self._path, self._limits = ledger(run, stage), run.recipe.limits
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
        _append(
            self._path,
            {
                "attempt": self._number,
                "started": _now(),
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "parts": self._parts,
                "memory_limit_bytes": self._limit,
                **self._figures(),
            },
        )
        _copy(self._run, self._stage)
        self._thread = threading.Thread(target=self._watch, name="attempt", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """Write what the attempt has cost so far."""
        _append(self._path, {"attempt": self._number, **self._figures()})

    def end(self, outcome: str, why: str) -> None:
        """Write the last row.

        Args:
            why: the error in one line; empty without one.
        """
        self._over.set()
        self._thread.join()
        row = {"attempt": self._number, "ended": _now(), "outcome": outcome, "peak_memory_bytes": peak_memory()}
        if why:
            row["error"] = why
        _append(self._path, {**row, **self._figures()})
        _copy(self._run, self._stage)

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
                _copy(self._run, self._stage)
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


def _place(run: Run, stage: str) -> str:
    """Key of a stage's ledger in the root's store."""
    return f"attempts/{stage}/{run.keys.stages[stage]}.jsonl"


def _copy(run: Run, stage: str) -> None:
    """Copy a ledger to the root's store; a store that refuses costs a warning, since the stage itself goes on."""
    if (store := store_of(run.root)) is None:
        return
    try:
        store.put_bytes(ledger(run, stage).read_bytes(), _place(run, stage))
    except StorageError as error:
        print(f"mmgen: warning: the ledger of attempts is not copied: {error} (the work goes on)", file=sys.stderr)


def _append(path: Path, row: dict[str, Any]) -> None:
    # One write of a short line to a file opened for appending: rows of the two threads never mix.
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":  # the machine lost power as it wrote
            os.write(handle, b"\n")
        os.write(handle, (json.dumps(row, allow_nan=False) + "\n").encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def _price(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"MMGEN_PRICE_{name.upper()}_HOUR={text!r}: expected a number") from None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
