"""Progress from the work to whoever watches: lines, a live bar, and events between processes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from mmgen import progress as module
from mmgen.progress import Events, Lines, Live, Progress, choose, clock, read_events, replay


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def work(progress: Progress) -> None:
    progress.stage("train", "waiting")
    progress.stage("train", "running")
    progress.start("train", 300, "steps")
    for step in range(1, 301):
        progress.update(step, loss=1 / step)
    progress.note("drawing samples")
    progress.done()
    progress.stage("train", "ran", 145.0)
    progress.close()


def test_events_replayed_in_another_process_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVENT_SECONDS", 0.0)
    monkeypatch.setattr(module, "LINE_SECONDS", 0.0)
    direct, replayed = io.StringIO(), io.StringIO()
    work(Events(tmp_path / "events.jsonl"))

    work(Lines(direct))
    watcher = Lines(replayed)
    events, _ = read_events(tmp_path / "events.jsonl", 0)
    for event in events:
        replay(event, watcher)

    # Rates differ from run to run, so the words are compared and not the figures.
    assert [line.split()[0] for line in replayed.getvalue().splitlines()] == [
        line.split()[0] for line in direct.getvalue().splitlines()
    ]
    assert "train      ran      2m25s" in replayed.getvalue()


def test_updates_are_few_in_an_events_file_and_in_lines(tmp_path: Path) -> None:
    stream = io.StringIO()
    work(Events(tmp_path / "events.jsonl"))
    work(Lines(stream))

    events, _ = read_events(tmp_path / "events.jsonl", 0)

    assert len([event for event in events if event["event"] == "update"]) < 10
    assert [line.split() for line in stream.getvalue().splitlines()] == [
        ["train", "running"],
        ["drawing", "samples"],
        ["train", "ran", "2m25s"],
    ]


def test_a_half_written_event_waits_for_its_other_half(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event": "done"}\n{"event": "no')

    first, offset = read_events(path, 0)
    nothing, same = read_events(path, offset)
    with path.open("ab") as file:
        file.write(b'te", "text": "x"}\n')
    second, _ = read_events(path, same)

    assert [event["event"] for event in first] == ["done"]
    assert nothing == []
    assert second == [{"event": "note", "text": "x"}]


def test_a_file_that_is_not_there_yet_has_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path / "later.jsonl", 0) == ([], 0)


def test_an_error_carries_its_exit_code(tmp_path: Path) -> None:
    told: list[tuple[str, str, int]] = []

    class Watcher(Progress):
        def error(self, stage: str, message: str, exit_code: int) -> None:
            told.append((stage, message, exit_code))

    Events(tmp_path / "events.jsonl").error("validate", "bad shard", 20)
    (event,), _ = read_events(tmp_path / "events.jsonl", 0)
    replay(event, Watcher())

    assert told == [("validate", "bad shard", 20)]


def test_a_terminal_shows_stages_and_a_bar() -> None:
    stream = Terminal()
    live = choose(None, stream)
    live.stage("train", "running")
    live.start("train", 300, "steps")
    live.update(10, loss=0.5)
    live.update(20, loss=0.25)
    live.close()

    shown = stream.getvalue()
    assert isinstance(live, Live)
    assert "train" in shown
    assert "20/300 steps" in shown
    assert "loss 0.25" in shown
    assert "left" in shown


def test_where_progress_goes_is_chosen_by_what_is_there(tmp_path: Path) -> None:
    assert isinstance(choose(str(tmp_path / "events"), Terminal()), Events)
    assert isinstance(choose(None, io.StringIO()), Lines)


def test_silence_is_an_answer_too() -> None:
    work(Progress())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0s"), (9.94, "9.9s"), (59.4, "59s"), (59.6, "1m00s"), (3599.9, "1h00m"), (7380, "2h03m")],
)
def test_a_duration_reads_well(seconds: float, text: str) -> None:
    assert clock(seconds) == text
