"""A stage inside a pod is a child process: what ends it decides whether it is started again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmgen.errors import DataError
from mmgen.files import is_sealed
from mmgen.ops.distributed import processes
from mmgen.ops.runs.ledger import attempts
from mmgen.ops.stages import task
from tests.support.whole_run import ROOT, SMALL, place

WORK = """
import os, signal, sys, time
folder, ends = sys.argv[1], sys.argv[2:]
tries = len(os.listdir(folder))
open(f"{folder}/{tries}", "w").close()
end = ends[min(tries, len(ends) - 1)]
if end == "wait":
    def stop(*_):
        open(f"{folder}/stopped-{time.monotonic_ns()}", "w").close()
        time.sleep(0.5)  # a second signal would be seen
        sys.exit(60)
    signal.signal(signal.SIGTERM, stop)
    print("ready", flush=True)
    time.sleep(60)
os.kill(os.getpid(), getattr(signal, end)) if end.startswith("SIG") else sys.exit(int(end))
"""


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "PAUSE_SECONDS", 0.0)


def supervise(folder: Path, *ends: str, restarts: int = 3) -> int:
    """Supervise a process whose tries end like `ends`; its exit code, as Kubeflow would see it."""
    folder.mkdir(exist_ok=True)
    try:
        task._supervise("train", [sys.executable, "-c", WORK, str(folder), *ends], restarts)
    except SystemExit as error:
        return int(error.code or 0)
    return 0


@pytest.mark.parametrize(
    ("ends", "tries", "code"),
    [
        (("0",), 1, 0),
        (("SIGKILL", "0"), 2, 0),
        (("SIGSEGV", "SIGKILL", "SIGBUS", "0"), 4, 0),
        (("40", "50", "0"), 3, 0),
        (("SIGKILL",), 4, 137),
        (("40",), 4, 40),
        (("10",), 1, 10),
        (("20",), 1, 20),
        (("70",), 1, 70),
        (("1",), 1, 1),
        (("SIGKILL", "20"), 2, 20),
    ],
)
def test_only_what_may_pass_is_tried_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], ends: tuple[str, ...], tries: int, code: int
) -> None:
    assert supervise(tmp_path / "tries", *ends) == code

    assert len(list((tmp_path / "tries").iterdir())) == tries
    assert capfd.readouterr().err.count("restart ") == tries - 1


def supervised(folder: Path) -> subprocess.Popen[str]:
    """A process that supervises one that waits to be stopped."""
    code = "import sys; from pathlib import Path; from tests.ops.stages.test_task import supervise; "
    line = [sys.executable, "-c", code + "sys.exit(supervise(Path(sys.argv[1]), 'wait'))", str(folder)]
    parent = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    return parent


def test_sigterm_reaches_the_stage_once_and_is_waited_for(tmp_path: Path) -> None:
    parent = supervised(tmp_path / "tries")

    with parent:
        os.killpg(parent.pid, signal.SIGTERM)  # as Argo's executor signals the whole group
        assert parent.wait(60) == 60
    names = sorted(path.name.partition("-")[0] for path in (tmp_path / "tries").iterdir())
    assert names == ["0", "stopped"]


def test_a_child_ends_with_its_parent_even_by_sigkill(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from mmgen.ops.distributed import processes; processes.end_with_parent(); "
        "print(os.getpid(), flush=True); time.sleep(600)"
    )
    line = f"""
from mmgen.ops.distributed import processes
with processes.child({[sys.executable, "-c", code]!r}) as started:
    started.wait()
"""
    with subprocess.Popen([sys.executable, "-c", line], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()

    deadline = time.monotonic() + 60
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()


def test_a_process_that_nobody_supervises_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(processes.CHILD, raising=False)
    command = [
        sys.executable,
        "-c",
        "from mmgen.ops.distributed.processes import end_with_parent as end; end(); print('on')",
    ]

    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)

    assert done.stdout == "on\n"


def test_a_training_that_is_killed_in_its_pod_goes_on_and_ends_in_the_same_bytes(
    tmp_path: Path, tiny_emoji: Path, great_expectations: None
) -> None:
    """As the kernel does when memory runs out: only the largest process of the container is killed."""
    settings = "; ".join((*SMALL, "training.steps=60", "training.checkpoint_seconds=0"))
    runs = {}
    for name in ("whole", "killed"):
        root = tmp_path / name
        parent = start(root, tiny_emoji.parent, settings)
        killed = kill_the_training(root) if name == "killed" else 0
        assert parent.wait(300) == 0, (tmp_path / f"{name}.log").read_text()[-3000:]
        folder = next(path for path in (root / "stages" / "train").iterdir() if path.is_dir() and is_sealed(path))
        ledger = attempts(folder.with_name(f"{folder.name}.attempts.jsonl"))
        runs[name] = ((folder / "model" / "weights.safetensors").read_bytes(), [row["outcome"] for row in ledger])
        if killed:
            assert ledger[0]["pid"] == killed

    assert runs["whole"][1] == ["ok"]
    assert runs["killed"][1] == ["killed", "ok"]
    assert runs["killed"][0] == runs["whole"][0]


def start(root: Path, data: Path, settings: str) -> subprocess.Popen[bytes]:
    """The task of stage `train` as a pod runs it, after its validation."""
    where = place(root)
    where["env"] |= {task.RESTARTS: "2"}
    code = (
        "import sys; from mmgen.ops.stages import task; task.PAUSE_SECONDS = 0; "
        "[task.perform(stage, 'emoji', sys.argv[1], sys.argv[2], sys.argv[3], '') for stage in ('validate', 'train')]"
    )
    with root.with_suffix(".log").open("wb") as log:
        words = [sys.executable, "-c", code, settings, str(root), str(data)]
        return subprocess.Popen(words, stdout=log, stderr=log, **where)


def kill_the_training(root: Path) -> int:
    """Kill the process that trains once it has a checkpoint; its id."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        found = sorted(root.glob("stages/train/*.work/scratch/step-*/SEAL.json"))
        ledgers = sorted(root.glob("stages/train/*.attempts.jsonl"))
        if found and ledgers:
            pid = json.loads(ledgers[0].read_text().splitlines()[0])["pid"]
            os.kill(pid, signal.SIGKILL)
            return int(pid)
        time.sleep(0.01)
    raise AssertionError(root.with_suffix(".log").read_text()[-3000:])


def test_refused_data_end_the_task_at_once_and_leave_their_page(tmp_path: Path, tiny_emoji: Path) -> None:
    shutil.copytree(tiny_emoji, tmp_path / "data" / "emoji")
    shard = sorted((tmp_path / "data" / "emoji").glob("train-*.tar"))[0]
    shard.write_bytes(shard.read_bytes()[:-2000])
    code = (
        "import sys; from pathlib import Path; from mmgen.ops.stages import outputs, task; "
        "task.perform('validate', 'emoji', '', 'runs', 'data', '', "
        "finished=lambda run: outputs.copy_validation(run, 'page.html'))"
    )
    where = place(tmp_path / "runs") | {"cwd": tmp_path}
    where["env"] |= {task.RESTARTS: "2"}

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, **where)

    assert done.returncode == DataError.exit_code
    assert "restart" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("mmgen: stage validate: ")
    assert shard.name in done.stderr.strip().splitlines()[-1]
    assert "<html" in (tmp_path / "page.html").read_text(encoding="utf-8")
