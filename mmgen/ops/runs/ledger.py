"""The ledger of attempts: what each try of a stage cost and how it ended.

    <root>/stages/train/0123456789abcdef.attempts.jsonl    beside the stage's output; a row when an attempt starts, a
                                                           row every few seconds, a row when it ends

Rows are appended and synced: an attempt that was killed has no last row, and costs what its newest one says. Where the
root has a store, the ledger is copied there (`<store>/attempts/train/0123456789abcdef.jsonl`) when an attempt starts,
every minute and when it ends, so that the next pod goes on with it, and whoever watches a job of other pods can read
why it ended.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgen.errors import (
    ConfigError,
    StorageError,
)
from mmgen.files import write_bytes
from mmgen.ops.runs.keys import STAGES
from mmgen.ops.runs.run import Run
from mmgen.ops.storage.roots import store_of

NEAR = 0.9
"""An attempt that was killed with so much of the memory in use was killed for it."""

KILLED, MEMORY, INTERRUPTED = "killed", "memory", "interrupted"
OUTCOMES = {10: "configuration", 20: "data", 40: "transient", 50: MEMORY, 60: INTERRUPTED, 70: "budget"}
"""Exit code of an error -> outcome; whatever has none is a bug."""


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


def ledger_of(run: Run, stage: str) -> Path:
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
        path, there = ledger_of(run, stage), _place(run, stage)
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
    rows = [row for stage in STAGES for row in attempts(ledger_of(run, stage))]
    sums = {name: sum(row[name] for row in rows) for name in ("seconds", "cpu_seconds", "gpu_seconds")}
    return Cost(attempts=len(rows), **sums)


def parts(run: Run, stage: str) -> int:
    """How many parts the attempt that runs now takes a batch in: twice as many after each that ran out of memory."""
    rows = attempts(ledger_of(run, stage))
    return int(rows[-1]["parts"]) if rows else 1


def end_open(run: Run, stage: str, outcome: str) -> None:
    """End the last attempt of a stage from outside of it, if it is still open."""
    path = ledger_of(run, stage)
    rows = attempts(path)
    if rows and "ended" not in rows[-1]:
        append_row(path, {"attempt": rows[-1]["attempt"], "ended": now(), "outcome": outcome})
        copy_to_store(run, stage)


def _place(run: Run, stage: str) -> str:
    """Key of a stage's ledger in the root's store."""
    return f"attempts/{stage}/{run.keys.stages[stage]}.jsonl"


def copy_to_store(run: Run, stage: str) -> None:
    """Copy a ledger to the root's store; a store that refuses costs a warning, since the stage itself goes on."""
    if (store := store_of(run.root)) is None:
        return
    try:
        store.put_bytes(ledger_of(run, stage).read_bytes(), _place(run, stage))
    except StorageError as error:
        print(f"mmgen: warning: the ledger of attempts is not copied: {error} (the work goes on)", file=sys.stderr)


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a ledger and wait until it is on the disk."""
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


def now() -> str:
    """The time of a row."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
