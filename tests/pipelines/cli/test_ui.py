"""`mmgen ui`: MLflow's pages on this machine, with the run that was made."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.support.whole_run import WholeRun, command, mmgen, place


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_the_pages_of_mlflow_are_served_until_ctrl_c(ran: WholeRun) -> None:
    port = free_port()
    line = command("ui", "--port", str(port), root=ran.root)
    url = f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/get?run_id={ran.summary['mlflow']['run_id']}"
    with subprocess.Popen(line, **place(ran.root), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as ui:
        assert ui.stdout is not None
        assert ui.stdout.readline() == f"MLflow: http://127.0.0.1:{port}\n"
        run = json.loads(fetched(url))["run"]

        ui.send_signal(signal.SIGINT)
        ui.stdout.read()
        ui.wait(300)

    assert run["info"]["run_id"] == ran.summary["mlflow"]["run_id"]
    assert ui.returncode == 60


def fetched(url: str) -> bytes:
    deadline = time.monotonic() + 300
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                content: bytes = answer.read()
                return content
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < deadline, "the server did not come up"
            time.sleep(0.5)


def test_without_runs_there_is_nothing_to_serve(tmp_path: Path) -> None:
    done = mmgen("ui", root=tmp_path / "runs")

    assert done.returncode == 10
    assert "run: mmgen run" in done.stderr


def test_a_port_that_is_taken_is_named(ran: WholeRun) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = mmgen("ui", "--port", str(other.getsockname()[1]), root=ran.root)

    assert done.returncode == 10
    assert "choose another with --port" in done.stderr
