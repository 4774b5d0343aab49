"""A process of a training in several is killed, or all are asked to stop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed

from mmgen.errors import ConfigError, MmgenError, OutOfMemoryError, WorkersError
from mmgen.files import sha256_file, write_json
from mmgen.ops.distributed import torchrun
from mmgen.ops.runs import ledger
from mmgen.ops.runs.cache import run_stage
from mmgen.ops.runs.run import Run, open_run
from mmgen.ops.stages.train import train
from mmgen.progress import Progress
from tests.support.worker_group import SMALL

REPOSITORY = Path(__file__).resolve().parents[2]
LONG = ["training.steps=240", "training.sample_every=120", "training.processes=2"]


def opened(root: Path, data: Path) -> Run:
    """A run of the tiny recipe in two processes, whose data have been validated."""
    run = open_run("emoji", [*SMALL, *LONG], root, data.parent)
    key = run.keys.stages["validate"]
    run_stage(
        "validate", key, root, lambda out: write_json(out / "validation.json", {"quarantined": []}), facts={"parts": {}}
    )
    return run


def processes(root: Path, rank: int) -> list[int]:
    """Numbers of the processes with a rank that train below `root`."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            told, line = ((path / name).read_bytes().split(b"\0") for name in ("environ", "cmdline"))
            if f"RANK={rank}".encode() in told and b"mmgen.ops.stages.worker" in line and bytes(root) in line:
                found.append(int(path.name))
    return found


class Killer(Progress):
    """Sends a signal to a process, or to this one, once training is under way."""

    def __init__(self, how: signal.Signals, root: Path, rank: int | None) -> None:
        self.how, self.root, self.rank, self.seen = how, root, rank, 0

    def update(self, done: int, **figures: float) -> None:
        if done > 20 and not self.seen:
            self.seen = done
            found = [os.getpid()] if self.rank is None else processes(self.root, self.rank)
            assert len(found) == 1, found
            os.kill(found[0], self.how)


@pytest.mark.minutes
def test_a_killed_process_ends_in_a_group_that_goes_on_to_the_same_bytes(tiny_emoji: Path, tmp_path: Path) -> None:
    whole = opened(tmp_path / "whole", tiny_emoji)
    first = train(whole, Progress())
    killed = opened(tmp_path / "runs", tiny_emoji)

    killer = Killer(signal.SIGKILL, killed.root, rank=1)
    second = train(killed, killer)

    assert killer.seen
    assert (first.state, second.state) == ("ran", "ran")
    assert train(killed, Progress()).state == "cached"
    for name in ("model/weights.safetensors", "samples/step-000240.png"):
        assert sha256_file(second.folder / name) == sha256_file(first.folder / name), name
    rows = ledger.attempts(ledger.ledger_of(killed, "train"))
    assert rows[0]["outcome"] in ("transient", "killed")  # torchrun may end the first process before it has said so
    assert [row["outcome"] for row in rows[1:]] == ["ok"]
    steps = [json.loads(line)["step"] for line in (second.folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(20, 241, 20))


@pytest.mark.minutes
def test_a_group_that_is_asked_to_stop_saves_a_checkpoint_and_leaves_nobody(tiny_emoji: Path, tmp_path: Path) -> None:
    run = opened(tmp_path / "runs", tiny_emoji)
    killer = Killer(signal.SIGTERM, run.root, rank=None)

    with pytest.raises(KeyboardInterrupt):
        train(run, killer)

    assert processes(run.root, 0) + processes(run.root, 1) == []
    assert [row["outcome"] for row in ledger.attempts(ledger.ledger_of(run, "train"))] == ["interrupted"]
    assert list((run.unfinished("train").parent / "scratch").glob("step-*/SEAL.json"))
    assert train(run, Progress()).state == "ran"


STARTS = """
import os, sys
from pathlib import Path
from mmgen.ops.stages.train import train
from mmgen.progress import Progress
from tests.faults.test_group_faults import opened

class Spoken(Progress):
    def update(self, done, **figures):
        if done > 20:
            print("under way", flush=True)

train(opened(Path(sys.argv[1]), Path(sys.argv[2])), Spoken())
"""


@pytest.mark.minutes
def test_a_group_ends_when_the_process_that_started_it_is_killed(tiny_emoji: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    command = [sys.executable, "-c", STARTS, str(root), str(tiny_emoji)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"under way\n"
        assert processes(root, 0)
        assert processes(root, 1)
        child.kill()
    deadline = time.monotonic() + 300
    while (left := processes(root, 0) + processes(root, 1)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []

    run = opened(root, tiny_emoji)
    assert train(run, Progress()).state == "ran"
    assert [row["outcome"] for row in ledger.attempts(ledger.ledger_of(run, "train"))] == ["killed", "ok"]


def test_an_error_that_was_told_is_what_ends_a_group() -> None:
    gone = ("stage train: another process is gone", 40)
    for told, kind, said in (
        ([gone, ("stage train: recipe emoji: loss is not finite", 10), gone], ConfigError, "^recipe emoji"),
        ([("stage train: out of memory with whole batches", 50)], OutOfMemoryError, "^out of memory"),
        ([gone], WorkersError, "is gone"),
        ([], WorkersError, "ended with code 1 and gave no reason"),
        ([("stage train: stopped; run again to go on", 60)], KeyboardInterrupt, "^stopped"),
        ([("a bug", 1)], MmgenError, "a bug"),
    ):
        with pytest.raises(kind, match=said):
            raise torchrun.reason(told, "processes ended with code 1")


JOINS = """
import os, sys, time
from mmgen.training.workers import joined

time.sleep(float(sys.argv[1]))
with joined("cpu") as workers:
    print("together", flush=True)
    os._exit(0)
"""


def test_processes_that_start_again_do_not_wait_for_those_that_are_gone() -> None:
    """torchrun's store outlives them, and holds addresses where nobody listens any more."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "GLOO_SOCKET_IFNAME": "lo"}
    told |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    for restart, late in enumerate((None, 0, 1)):
        told["TORCHELASTIC_RESTART_COUNT"] = str(restart)
        children = [
            subprocess.Popen(
                [sys.executable, "-c", JOINS, "2" if rank == late else "0"],
                env={**os.environ, **told, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.PIPE,
                cwd=REPOSITORY,
            )
            for rank in range(2)
        ]
        try:
            assert [child.communicate(timeout=600)[0] for child in children] == [b"together\n"] * 2, restart
        finally:
            for child in children:
                child.kill()
                child.wait()
