"""Faults 31 and 32: MLflow is down, hangs or refuses, and runs whose holder is dead. The server is a real one."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mmgen.files import write_json
from mmgen.ops.runs.cache import run_stage, scratch
from mmgen.ops.runs.run import Run
from mmgen.ops.tracking import outbox
from mmgen.ops.tracking.client import connected, pages
from mmgen.ops.tracking.dead_runs import reap
from mmgen.ops.tracking.delivery import send_waiting
from mmgen.ops.tracking.live_delivery import QUIET_SECONDS
from mmgen.ops.tracking.mlflow_runs import HEARTBEAT
from mmgen.ops.tracking.stage_run import stage_run
from tests.ops.conftest import own_tracker
from tests.support.mlflow_server import MlflowServer, free_port, running_server, store_in_words
from tests.support.runs import fill_train, small_run

__all__ = ["own_tracker", "running_server"]

REPOSITORY = Path(__file__).resolve().parents[2]
STAGE = """
import sys, time
from pathlib import Path
from mmgen.ops.runs.cache import run_stage, scratch
from mmgen.ops.tracking.stage_run import stage_run
from tests.support.runs import small_run

run = small_run(Path(sys.argv[1]), int(sys.argv[2]))
first, last = int(sys.argv[3]), int(sys.argv[4])

def work(out):
    with stage_run(run, "train", out) as tracked:
        while not tracked.run_id:
            time.sleep(0.05)
        with (scratch(out) / "metrics.jsonl").open("a", buffering=1) as log:
            for step in range(first, last + 1):
                log.write('{"step": %d, "seconds": %f, "loss": %f}\\n' % (step, step / 100, 1 / step))
        print(tracked.parent_id, tracked.run_id, flush=True)
        sys.stdin.readline()

run_stage("train", run.keys.stages["train"], run.root, work, facts={})
"""


@pytest.fixture
def server(running_server: MlflowServer, monkeypatch: pytest.MonkeyPatch, record_property: Any) -> MlflowServer:
    record_property("store", store_in_words())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", running_server.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    return running_server


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with a run key that no other test on the same server has."""
    return small_run(tmp_path / "runs", time.time_ns() // 1000 % 10000)


def train(run: Run, seen: Callable[[int], None] = lambda step: None, steps: int = 40) -> float:
    """A stage that trains: rows come one by one, `seen` is called after each; seconds that the tracker cost it."""
    spent = 0.0

    def work(out: Path) -> None:
        nonlocal spent
        with stage_run(run, "train", out):
            with (scratch(out) / "metrics.jsonl").open("a", buffering=1) as log:
                for step in range(1, steps + 1):
                    log.write(json.dumps({"step": step, "seconds": step / 100, "loss": 1 / step}) + "\n")
                    seen(step)
            shutil.copy(scratch(out) / "metrics.jsonl", out)
            write_json(out / "metrics.json", {"r1": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}})
            fill_train(out / "made")
            shutil.copytree(out / "made" / "samples", out / "samples")
            spent -= time.monotonic()
        spent += time.monotonic()

    began = time.monotonic()
    run_stage("train", run.keys.stages["train"], run.root, work, facts={})
    return spent if spent else time.monotonic() - began


def flush(run: Run) -> list[str]:
    return [problem for problem in send_waiting(os.environ["MLFLOW_TRACKING_URI"], run.root) if problem]


def runs_of(run: Run) -> dict[str, Any]:
    """MLflow's runs of this run by stage; a stage that was tried twice has the second under `stage 2`."""
    with connected(os.environ["MLFLOW_TRACKING_URI"]) as client:
        experiments = [entry.experiment_id for entry in pages(client.search_experiments)]
        query = f"tags.`mmgen.run_key` = '{run.keys.run_key}'"
        found = list(pages(client.search_runs, experiments, query, order_by=["attributes.start_time ASC"]))
    named: dict[str, Any] = {}
    for entry in found:
        stage = entry.data.tags["mmgen.stage"]
        named[stage if stage not in named else f"{stage} {sum(name.split()[0] == stage for name in named) + 1}"] = entry
    return named


def history(run_id: str, name: str) -> list[tuple[int, float]]:
    with connected(os.environ["MLFLOW_TRACKING_URI"]) as client:
        return sorted((metric.step, metric.value) for metric in client.get_metric_history(run_id, name))


def assert_all_arrived_once(run: Run, steps: int = 40, status: str = "FINISHED") -> None:
    named = runs_of(run)
    assert set(named) == {"all", "train"}
    child, parent = named["train"], named["all"]
    assert history(child.info.run_id, "loss") == [(step, 1 / step) for step in range(1, steps + 1)]
    assert history(parent.info.run_id, "r1") == history(child.info.run_id, "r1") == [(0, 0.5)]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.info.status == status
    assert parent.data.params["training.steps"] == "3000"
    with connected(os.environ["MLFLOW_TRACKING_URI"]) as client:
        images = [Path(entry.path).name for entry in client.list_artifacts(child.info.run_id, "images")]
    assert sorted(name.split("+")[2] for name in images if name.endswith(".png")) == ["1000", "500"]
    assert outbox.waiting(run.root) == []


@pytest.mark.minutes
def test_rows_are_there_while_the_stage_still_runs(server: MlflowServer, run: Run) -> None:
    def look(step: int) -> None:
        if step == 20:
            deadline = time.monotonic() + 60
            while "train" not in runs_of(run) or len(history(runs_of(run)["train"].info.run_id, "loss")) < 20:
                assert time.monotonic() < deadline, "20 rows were written and did not arrive"
                time.sleep(0.2)
            assert runs_of(run)["train"].info.status == "RUNNING"

    train(run, look)

    assert_all_arrived_once(run)


@pytest.mark.minutes
def test_31_a_server_that_is_down_at_the_start_gets_everything_once_later(
    server: MlflowServer, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    server.kill()
    try:
        spent = train(run)
        said = capsys.readouterr().err
    finally:
        server.start()

    assert spent < 2 * QUIET_SECONDS
    assert said.count("mmgen: warning: MLflow at") == said.count("\n") == 1
    assert len(outbox.waiting(run.root)) == 1
    assert flush(run) == []
    assert_all_arrived_once(run)
    assert flush(run) == []
    assert_all_arrived_once(run)


@pytest.mark.minutes
def test_31_a_server_killed_in_mid_run_and_started_again_gets_every_row_once(server: MlflowServer, run: Run) -> None:
    longest = 0.0
    before = time.monotonic()

    def strike(step: int) -> None:
        nonlocal longest, before
        longest = max(longest, time.monotonic() - before)
        if step == 10:
            while not (runs_of(run).get("train") and history(runs_of(run)["train"].info.run_id, "loss")):
                time.sleep(0.2)
            server.kill()
        if step == 30:
            server.start()
        time.sleep(0.05)
        before = time.monotonic()

    train(run, strike)

    assert longest < 1
    flush(run)
    assert_all_arrived_once(run)


@pytest.mark.minutes
def test_31_a_server_that_dies_at_the_end_gets_the_rest_from_the_next_stage(server: MlflowServer, run: Run) -> None:
    def strike(step: int) -> None:
        if step == 40:
            while not (runs_of(run).get("train") and history(runs_of(run)["train"].info.run_id, "loss")):
                time.sleep(0.2)
            server.kill()

    try:
        assert train(run, strike) < 2 * QUIET_SECONDS
    finally:
        server.start()
    assert len(outbox.waiting(run.root)) == 1

    out = run.root / "next"
    out.mkdir()
    with stage_run(small_run(run.root, 2), "gate", out):
        pass

    assert_all_arrived_once(run)


@pytest.mark.minutes
def test_31_an_answer_that_got_lost_does_not_double_a_row(
    server: MlflowServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember = outbox.Entry.remember

    def lost(self: outbox.Entry, **sent: Any) -> None:
        if "rows" in sent:
            raise OSError("killed before the answer was noted")
        remember(self, **sent)

    monkeypatch.setattr(outbox.Entry, "remember", lost)
    train(run)
    assert len(history(runs_of(run)["train"].info.run_id, "loss")) == 40
    monkeypatch.undo()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)

    assert flush(run) == []

    assert_all_arrived_once(run)


@contextlib.contextmanager
def pretender(status: int | None) -> Iterator[str]:
    """The address of something that accepts and never answers, or answers everything with `status`."""
    if status is None:
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(50)
            yield f"http://127.0.0.1:{deaf.getsockname()[1]}"
        return

    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as refusing:
        threading.Thread(target=refusing.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{refusing.server_port}"
        refusing.shutdown()


@pytest.mark.parametrize("status", [None, 403, 500], ids=["hangs", "403", "500"])
def test_31_a_tracker_that_hangs_or_refuses_costs_seconds_at_the_end_and_one_warning(
    status: int | None, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    longest = 0.0
    before = time.monotonic()

    def measure(step: int) -> None:
        nonlocal longest, before
        longest = max(longest, time.monotonic() - before)
        before = time.monotonic()

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pretender(status) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        spent = train(run, measure)

    said = capsys.readouterr().err
    assert spent < QUIET_SECONDS + 5
    assert longest < 3
    assert said.count(f"mmgen: warning: MLflow at {uri}") == said.count("\n") == 1
    assert (run.folder("train") / "metrics.jsonl").is_file()
    (kept,) = outbox.waiting(run.root)
    assert len(outbox.Entry(kept).rows()) == 41
    assert len(list(kept.glob("files/samples/*.png"))) == 2


@contextlib.contextmanager
def trainer(run: Run, first: int, last: int) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A process that trains until it is told to end; ids of its parent and its child run."""
    number = str(int(run.keys.run_key[:4]))
    command = [sys.executable, "-c", STAGE, str(run.root), number, str(first), str(last)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        parent_id, child_id = process.stdout.readline().split()
        yield process, parent_id, child_id
        if process.poll() is None:
            process.communicate("end\n", timeout=60)


@pytest.mark.minutes
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_32_a_killed_stage_leaves_no_running_run_and_going_on_continues_its_parent(
    server: MlflowServer, run: Run, number: int
) -> None:
    with trainer(run, 1, 20) as (process, parent_id, child_id):
        process.send_signal(number)
        process.wait(60)
    if number == signal.SIGKILL:
        assert runs_of(run)["train"].info.status == "RUNNING"

    ended = reap(run.root, stale=-1, watch=0)

    assert {entry.info.status for entry in runs_of(run).values()} == {"KILLED"}
    assert (child_id in ended) == (number == signal.SIGKILL)

    with trainer(run, 21, 30) as (_, again_parent, again_child):
        pass

    named = runs_of(run)
    assert again_parent == parent_id
    assert set(named) == {"all", "train", "train 2"}
    assert named["train"].info.status == "KILLED"
    assert named["train 2"].info.status == "FINISHED"
    assert [step for step, _ in history(child_id, "loss")] == list(range(1, 21))
    assert [step for step, _ in history(again_child, "loss")] == list(range(1, 31))
    assert outbox.waiting(run.root) == []


@pytest.mark.minutes
def test_32_a_live_run_is_not_reaped_though_its_clock_is_wrong(
    server: MlflowServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trainer(run, 1, 3) as (_, parent_id, child_id):
        assert reap(run.root, watch=0) == []
        with connected(server.uri) as client:
            minutes_ago = str(int(time.time()) - 600)
            client.set_tag(child_id, HEARTBEAT, minutes_ago)
            assert child_id not in reap(run.root, watch=0)
            client.set_tag(child_id, HEARTBEAT, str(int(time.time()) - 7200))
            client.set_tag(parent_id, HEARTBEAT, str(int(time.time()) + 7200))

            def alive(seconds: float) -> None:
                client.set_tag(child_id, HEARTBEAT, str(int(time.time()) - 7140))

            monkeypatch.setattr(time, "sleep", alive)  # it says that it lives while the reaper looks on
            ended = reap(run.root, watch=0.01)
    assert child_id not in ended
    assert parent_id in ended  # its heartbeat stood still


@pytest.mark.minutes
def test_32_a_param_that_changed_keeps_its_first_value_and_leaves_a_tag(server: MlflowServer, run: Run) -> None:
    train(run)
    other = small_run(run.root, int(run.keys.run_key[:4]))
    object.__setattr__(other.recipe, "seed", 7)
    out = run.root / "next"
    out.mkdir()

    with stage_run(other, "report", out):
        pass

    parent = runs_of(run)["all"]
    assert parent.data.params["seed"] == "0"
    assert parent.data.tags["mmgen.param_conflict"] == "seed"
    assert parent.info.status == "FINISHED"


@pytest.mark.minutes
def test_a_stage_sent_late_does_not_undo_the_end_of_the_run(server: MlflowServer, run: Run) -> None:
    server.kill()
    try:
        out = run.root / "out"
        out.mkdir(parents=True)
        with pytest.raises(ZeroDivisionError), stage_run(run, "validate", out):
            raise ZeroDivisionError
    finally:
        server.start()
    (late,) = outbox.waiting(run.root)
    late.rename(run.root / late.name)
    for stage in ("validate", "report"):
        with stage_run(run, stage, out):
            pass
    (run.root / late.name).rename(late)

    assert flush(run) == []

    named = runs_of(run)
    assert named["all"].info.status == "FINISHED"
    assert named["validate"].info.status == "FAILED"


@pytest.mark.minutes
def test_the_run_that_kubeflow_made_is_joined_with_nested_runs_and_never_ended(
    server: MlflowServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(server.uri) as client:
        experiment = client.create_experiment(f"kubeflow-{run.keys.run_key}")
        theirs = client.create_run(experiment, tags={"kfp.pipeline_run_id": "1234"}).info.run_id
        monkeypatch.setenv("MLFLOW_RUN_ID", theirs)

        train(run)
        out = run.root / "out"
        out.mkdir()
        with pytest.raises(ZeroDivisionError), stage_run(run, "report", out):
            raise ZeroDivisionError
        ended = reap(run.root, stale=-1, watch=0)

        parent = client.get_run(theirs)
        children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{theirs}'")
    assert parent.info.status == "RUNNING"
    assert theirs not in ended
    assert HEARTBEAT not in parent.data.tags
    assert sorted(child.info.status for child in children) == ["FAILED", "FINISHED"]
    assert parent.data.metrics["r1"] == 0.5


def test_the_outbox_of_a_dead_process_is_closed_with_all_rows(run: Run) -> None:
    entry, hold = outbox.create(run.root, "train", {"metrics": "metrics.jsonl", "key": "k"})
    lines = '{"step": 1, "seconds": 1.0, "loss": 0.5}\n{"step": 2, "seconds": 2.0, "loss": 0.25}\n{"step": 3, "lo'
    (run.root / "metrics.jsonl").write_text(lines)
    entry.gather(run.root / "metrics.jsonl")
    with (entry.folder / "rows.jsonl").open("a") as file:
        file.write('{"time": 1, "st')  # killed while it wrote
    (run.root / "metrics.jsonl").write_text(lines.replace('3, "lo', '3, "loss": 0.125}\n'))
    hold.close()

    with outbox.held(entry.folder) as found:
        assert outbox.orphaned(found)
        outbox.bury(found)

    assert [(row["step"], row["values"]["loss"]) for row in found.rows()] == [(1, 0.5), (2, 0.25), (3, 0.125)]
    first, second = (row["time"] for row in found.rows()[:2])
    assert second - first == 1000
    assert found.end is not None
    assert found.end["status"] == "KILLED"


def test_the_outbox_of_another_machine_is_left_alone_until_it_is_silent_for_long(run: Run) -> None:
    entry, hold = outbox.create(run.root, "train", {"metrics": "", "key": "k"})
    hold.close()
    facts = {**entry.facts, "host": "another machine"}
    write_json(entry.folder / "entry.json", facts)

    assert not outbox.orphaned(entry)

    long_ago = time.time() - outbox.STALE_SECONDS - 60
    os.utime(entry.folder / "entry.json", (long_ago, long_ago))
    assert outbox.orphaned(entry)


def test_a_held_entry_is_sent_by_nobody_else(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    facts = {"metrics": "", "key": "k", "stage": "train", "recipe": "emoji", "joined": "", "tags": {}}
    entry, hold = outbox.create(run.root, "train", facts)
    entry.close("FINISHED", 1)
    nowhere = f"http://127.0.0.1:{free_port()}"

    with hold:
        assert list(send_waiting(nowhere, run.root)) == []

    (problem,) = send_waiting(nowhere, run.root)
    assert "check MLFLOW_TRACKING_URI" in problem
    assert outbox.waiting(run.root) == [entry.folder]
