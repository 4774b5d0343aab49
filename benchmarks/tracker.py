"""What MLflow costs a stage: processor seconds beside its work, and the waits at its start and end.

The work is a loop of Python, which the follower's thread can only slow down by what it takes of the processor; so the
figures hold on a machine that is busy with other things, where the loop's own time on the clock says little.

    python -m benchmarks.tracker [http://127.0.0.1:5000]

Without an address the tracker that is up is SQLite.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

from mmgen.ops.runs.cache import scratch
from mmgen.ops.tracking.stage_run import stage_run
from tests.support.runs import small_run

STEPS = 150


def loop(log: Path) -> None:
    """Some fifteen seconds of work with a row of metrics every step."""
    began = time.monotonic()
    with log.open("a", buffering=1) as rows:
        for step in range(1, STEPS + 1):
            total = 0.0
            for number in range(1_000_000):
                total += number**0.5
            rows.write(json.dumps({"step": step, "seconds": time.monotonic() - began, "loss": total}) + "\n")


def measure(name: str, uri: str) -> None:
    """One stage, with the tracker at `uri`; SQLite where that is empty."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if uri:
        os.environ["MLFLOW_TRACKING_URI"] = uri
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "work" / "out"
        out.mkdir(parents=True)
        scratch(out).mkdir()
        run = small_run(Path(folder) / "runs", time.time_ns() // 1000 % 10000)
        clock, processor, own = time.monotonic(), time.process_time(), time.thread_time()
        with stage_run(run, "train", out):
            start, own = time.monotonic() - clock, time.thread_time()
            loop(scratch(out) / "metrics.jsonl")
            own, clock = time.thread_time() - own, time.monotonic()
        beside = time.process_time() - processor - own
        end = time.monotonic() - clock
        print(
            f"{name:<6} work {own:5.1f} s  beside it {beside:4.1f} s  start {start:.2f} s  end {end:4.1f} s", flush=True
        )


def main() -> None:
    """Each case twice, in turn, so that a machine that warms up or has company shows."""
    with socket.socket() as deaf, socket.socket() as closed:
        for port in (deaf, closed):
            port.bind(("127.0.0.1", 0))
        deaf.listen(50)
        up = sys.argv[1] if len(sys.argv) > 1 else ""
        down, hangs = (f"http://127.0.0.1:{port.getsockname()[1]}" for port in (closed, deaf))
        for _ in range(2):
            for name, uri in (("up", up), ("down", down), ("hangs", hangs)):
                measure(name, uri)


if __name__ == "__main__":
    main()
