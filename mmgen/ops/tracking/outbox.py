"""What MLflow is to be told, kept on disk until it has been told.

    <root>/tracking/outbox/0001795590942870-train-4f1d2c3b/
        entry.json     which run, whose child, params, tags
        rows.jsonl     metrics by step, each with the time it will always have
        sent.json      ids of the MLflow runs and how many rows are there
        files/         what the stage left: images, pages
        end.json       how the stage ended; missing as long as it runs
    <root>/tracking/outbox/0001795590942870-train-4f1d2c3b.lock   held by whoever writes or sends the entry

An entry outlives a kill at any moment and goes away once the tracker has all of it. Nothing here speaks to MLflow.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmgen.errors import StorageError
from mmgen.files import read_json, write_json
from mmgen.ops.storage.locks import locked

STALE_SECONDS = 1800.0
"""Silence after which a holder on another machine counts as dead: thirty heartbeats, far more than clocks differ."""


class Entry:
    """One try of one stage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._steps: set[int] = set()  # that rows.jsonl has
        self._offset = 0  # in the metrics file that is followed
        for row in self.rows():
            self._steps.add(int(row["step"]))

    @property
    def facts(self) -> dict[str, Any]:
        """As given to `create`."""
        facts: dict[str, Any] = read_json(self.folder / "entry.json")
        return facts

    @property
    def sent(self) -> dict[str, Any]:
        """What the tracker is known to have: `experiment_id`, `parent_id`, `run_id`, `rows`, and two lists of others.

        `not_ours` are those of the runs that somebody else made and ends; `there` are the last steps of the metrics
        that an earlier try has logged to the same run.
        """
        path = self.folder / "sent.json"
        known = read_json(path) if path.is_file() else {}
        return {"experiment_id": "", "parent_id": "", "run_id": "", "rows": 0, "not_ours": [], "there": {}, **known}

    def remember(self, **sent: Any) -> None:
        """Note what the tracker has answered for."""
        write_json(self.folder / "sent.json", {**self.sent, **sent})

    @property
    def end(self) -> dict[str, Any] | None:
        """How the stage ended: `status`, `time`, `model_sha256`; None as long as it runs."""
        path = self.folder / "end.json"
        return read_json(path) if path.is_file() else None

    def rows(self, first: int = 0) -> list[dict[str, Any]]:
        """Rows from number `first` on: `time` in ms, `step`, `values`, and `scores` when the parent gets them too."""
        path = self.folder / "rows.jsonl"
        lines = path.read_bytes().splitlines() if path.is_file() else []
        found = [row for line in lines if (row := _parsed(line)) is not None]  # a kill may have cut the last one
        return found[first:]

    def gather(self, metrics: Path, *, whole: bool = False) -> None:
        """Take over what a stage's `metrics.jsonl` has by now; each step once.

        Args:
            metrics: may be missing, may end in half a line, and is cut back when a killed stage goes on.
            whole: read it from the start again, so that nothing is missed.
        """
        with contextlib.suppress(FileNotFoundError), metrics.open("rb") as file:
            if whole or os.fstat(file.fileno()).st_size < self._offset:
                self._offset = 0
            file.seek(self._offset)
            content = file.read().rpartition(b"\n")[0]
            self._offset += len(content) + 1 if content else 0
            parsed = [row for line in content.splitlines() if (row := _parsed(line)) is not None]
            new = {int(row["step"]): row for row in parsed if row["step"] not in self._steps}
            self._add(list(new.values()))

    def add_scores(self, scores: dict[str, float]) -> None:
        """Scores without steps, which the run of the whole pipeline shows as well."""
        self._append([{"time": _now(), "step": 0, "values": _finite(scores), "scores": True}])

    def close(self, status: str, when: int, *, model_sha256: str = "") -> None:
        """The stage has ended; from here on the entry can be sent by any process."""
        write_json(self.folder / "end.json", {"status": status, "time": when, "model_sha256": model_sha256})

    def beat(self) -> None:
        """Say that the stage is alive, to processes that see the same folder."""
        os.utime(self.folder / "entry.json")

    def remove(self) -> None:
        """The tracker has all of it."""
        shutil.rmtree(self.folder)

    def _add(self, parsed: list[dict[str, Any]]) -> None:
        """The newest row was written just now, the others as much earlier as their `seconds` say."""
        now = _now()
        last = parsed[-1].get("seconds", 0) if parsed else 0
        rows = []
        for row in parsed:
            values = {name: value for name, value in row.items() if name != "step"}
            when = now - int(1000 * (last - row.get("seconds", last)))
            rows.append({"time": when, "step": int(row["step"]), "values": _finite(values)})
        self._append(rows)
        self._steps.update(int(row["step"]) for row in parsed)

    def _append(self, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        with (self.folder / "rows.jsonl").open("ab") as file:
            # The line end first: an earlier writer may have been killed in the middle of a line.
            file.write(b"".join(b"\n" + json.dumps(row, allow_nan=False).encode() for row in rows) + b"\n")
            file.flush()
            os.fsync(file.fileno())


@contextlib.contextmanager
def held(folder: Path) -> Iterator[Entry]:
    """Hold an entry, so that no other process sends it.

    Raises:
        StorageError: another process holds it, or has sent and removed it.
    """
    with locked(folder, wait=0):
        if not (folder / "entry.json").is_file():
            raise StorageError(f"{str(folder)!r} has been sent")
        yield Entry(folder)


def create(root: Path, stage: str, facts: dict[str, Any]) -> tuple[Entry, contextlib.ExitStack]:
    """A new entry and the hold on it; close the stack to let go."""
    now = _now()
    folder = _place(root) / f"{now:016d}-{stage}-{secrets.token_hex(4)}"
    hold = contextlib.ExitStack()
    hold.enter_context(locked(folder, wait=0))
    folder.mkdir()
    write_json(folder / "entry.json", {**facts, "attempt": folder.name, "began": now, "host": host()})
    return Entry(folder), hold


def waiting(root: Path) -> list[Path]:
    """Folders of all entries, oldest first."""
    return sorted(path.parent for path in _place(root).glob("*/entry.json"))


def orphaned(entry: Entry) -> bool:
    """Whether a held entry without an end belongs to a dead process.

    On the same machine the lock has told already. Of another machine, whose lock a network disk may not show here,
    only a long silence tells.
    """
    silent = time.time() - (entry.folder / "entry.json").stat().st_mtime
    return entry.end is None and (entry.facts["host"] == host() or silent > STALE_SECONDS)


def bury(entry: Entry) -> None:
    """End the entry of a dead process, at the moment of its last sign of life."""
    last = max(path.stat().st_mtime for path in entry.folder.iterdir())
    metrics = entry.facts["metrics"]
    if metrics:
        entry.gather(entry.folder.parents[2] / metrics, whole=True)
    entry.close("KILLED", int(last * 1000))


def host() -> str:
    """This machine since its last start; a pod is a machine of its own."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{socket.gethostname()} {boot.read_text().strip() if boot.is_file() else ''}".strip()


def _place(root: Path) -> Path:
    return root / "tracking" / "outbox"


def _now() -> int:
    return int(time.time() * 1000)


def _finite(values: dict[str, Any]) -> dict[str, float]:
    """What can be a metric."""
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A row with a step; None for half a line."""
    with contextlib.suppress(ValueError):
        row = json.loads(line)
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            return row
    return None
