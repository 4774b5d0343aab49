"""Progress of long work: a live bar on a terminal, plain lines elsewhere, JSON lines between processes.

Work is given a `Progress` and never asks where it goes. `Progress` itself says nothing, for callers that
want silence. `Events` writes a line of JSON for each call; `replay` turns such a line back into the call, so a
parent process draws what its children do.

    stage(name, state, seconds)   a stage began or ended; states: waiting, running, ran, cached, failed
    start / update / done         the bar inside a stage
    note(text)                    one line worth reading
    error(stage, message, code)   why a stage failed and the exit code that says so
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType

LINE_SECONDS = 10.0
"""Shortest time between two plain lines of one bar: logs stay readable."""
EVENT_SECONDS = 0.2
"""Shortest time between two updates in an events file: training must not wait for its own bar."""


class Progress:
    """Says nothing; the others add a place to say it."""

    def stage(self, name: str, state: str, seconds: float = 0.0) -> None:
        """Stage `name` entered `state`; `seconds` is its own time, when it ended."""

    def start(self, stage: str, total: int, unit: str) -> None:
        """Begin a bar of `total` `unit`s, such as 3000 "steps"."""

    def update(self, done: int, **figures: float) -> None:
        """`done` of the total are finished; `figures` are shown beside the bar, such as loss=0.12."""

    def note(self, text: str) -> None:
        """Say one line."""

    def done(self) -> None:
        """End the bar."""

    def error(self, stage: str, message: str, exit_code: int) -> None:
        """`stage` failed; the program that watches ends with `exit_code`."""

    def close(self) -> None:
        """Give the terminal or the file back."""


class Events(Progress):
    """One JSON object a line, appended to a file that another process follows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = 0.0

    def stage(self, name: str, state: str, seconds: float = 0.0) -> None:
        self._write({"event": "stage", "name": name, "state": state, "seconds": round(seconds, 3)})

    def start(self, stage: str, total: int, unit: str) -> None:
        self._next = 0.0
        self._write({"event": "start", "stage": stage, "total": total, "unit": unit})

    def update(self, done: int, **figures: float) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + EVENT_SECONDS
            self._write({"event": "update", "done": done, "figures": figures})

    def note(self, text: str) -> None:
        self._write({"event": "note", "text": text})

    def done(self) -> None:
        self._write({"event": "done"})

    def error(self, stage: str, message: str, exit_code: int) -> None:
        self._write({"error": {"stage": stage, "message": message, "exit_code": exit_code}})

    def _write(self, event: dict[str, Any]) -> None:
        line = json.dumps({"time": round(time.time(), 3), **event}) + "\n"
        # One write of a short line to a file opened for appending: lines of several processes never mix.
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)


class Bar:
    """Rate and time left of one bar."""

    def __init__(self, stage: str, total: int, unit: str) -> None:
        self.stage, self.total, self.unit = stage, total, unit
        self.count = 0
        self.figures: dict[str, float] = {}
        self._began = time.monotonic()
        self._first: int | None = None

    def update(self, done: int, figures: dict[str, float]) -> None:
        if self._first is None:  # a resumed run starts in the middle: its rate counts from there
            self._first, self._began = done, time.monotonic()
        self.count, self.figures = done, figures

    @property
    def rate(self) -> float:
        """Units a second; 0 as long as it is not known."""
        gone = time.monotonic() - self._began
        return (self.count - (self._first or 0)) / gone if gone > 0 else 0.0

    def text(self) -> str:
        """Such as `1200/3000 steps  12.4/s  2m25s left  loss 0.213`."""
        parts = [f"{self.count}/{self.total} {self.unit}"]
        if self.rate > 0:
            parts += [f"{self.rate:.3g}/s", f"{clock((self.total - self.count) / self.rate)} left"]
        parts += [f"{name} {value:.3g}" for name, value in self.figures.items()]
        return "  ".join(parts)


class Lines(Progress):
    """Plain lines: every stage change, and a bar's state every ten seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar: Bar | None = None
        self._next = 0.0

    def stage(self, name: str, state: str, seconds: float = 0.0) -> None:
        if state != "waiting":
            self._say(name, f"{state:<8} {clock(seconds)}" if state in ("ran", "failed") else state)

    def start(self, stage: str, total: int, unit: str) -> None:
        self._bar = Bar(stage, total, unit)
        self._next = time.monotonic() + LINE_SECONDS

    def update(self, done: int, **figures: float) -> None:
        if self._bar is None:
            return
        self._bar.update(done, figures)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LINE_SECONDS
            self._say(self._bar.stage, self._bar.text())

    def note(self, text: str) -> None:
        self._say("", text)

    def done(self) -> None:
        self._bar = None

    def _say(self, stage: str, text: str) -> None:
        print(f"{stage:<10} {text}".rstrip(), file=self._stream, flush=True)


class Live(Progress):
    """Stages and a bar, redrawn in place on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live as Screen

        self._stages: dict[str, tuple[str, float, float]] = {}  # name -> state, seconds, when it began
        self._bar: Bar | None = None
        self._screen = Screen(console=Console(file=stream), get_renderable=self._draw, refresh_per_second=5)
        self._screen.start()

    def stage(self, name: str, state: str, seconds: float = 0.0) -> None:
        self._stages[name] = (state, seconds, time.monotonic())
        self._screen.refresh()

    def start(self, stage: str, total: int, unit: str) -> None:
        self._bar = Bar(stage, total, unit)

    def update(self, done: int, **figures: float) -> None:
        if self._bar is not None:
            self._bar.update(done, figures)

    def note(self, text: str) -> None:
        self._screen.console.print(text, markup=False, highlight=False)

    def done(self) -> None:
        self._bar = None

    def close(self) -> None:
        self._screen.stop()

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        colours = {"running": "bold cyan", "ran": "green", "cached": "dim", "failed": "bold red"}
        rows = Table.grid(padding=(0, 2))
        for name, (state, seconds, began) in self._stages.items():
            shown = time.monotonic() - began if state == "running" else seconds
            when = "" if state in ("cached", "waiting") else clock(shown)
            rows.add_row(f"{name:<10}", Text(state, style=colours.get(state, "")), when)
        if self._bar is None:
            return rows
        bar = Table.grid(padding=(0, 2))
        bar.add_row(ProgressBar(total=self._bar.total, completed=self._bar.count, width=28), Text(self._bar.text()))
        return Group(rows, bar)


def choose(events: str | None, stream: TextIO) -> Progress:
    """Where progress goes: to the file `events` if named, else to `stream`, drawn if that is a terminal."""
    if events:
        return Events(Path(events))
    return Live(stream) if stream.isatty() else Lines(stream)


def read_events(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Events written to `path` since byte `offset`, and the offset to go on from. A half-written line waits."""
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        whole = file.read().rpartition(b"\n")[0]
    return [json.loads(line) for line in whole.splitlines()], offset + (len(whole) + 1 if whole else 0)


def replay(event: dict[str, Any], progress: Progress) -> None:
    """Make on `progress` the call that wrote `event`."""
    if "error" in event:
        progress.error(**event["error"])
        return
    match event["event"]:
        case "stage":
            progress.stage(event["name"], event["state"], event["seconds"])
        case "start":
            progress.start(event["stage"], event["total"], event["unit"])
        case "update":
            progress.update(event["done"], **event["figures"])
        case "note":
            progress.note(event["text"])
        case "done":
            progress.done()


def clock(seconds: float) -> str:
    """A duration as people write it.

    >>> clock(3.2), clock(145), clock(7380)
    ('3.2s', '2m25s', '2h03m')
    """
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
