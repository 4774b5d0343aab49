"""Faults 1 to 9: kills, full disks, flipped bits and foreign users between a run and its files."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mmgen.errors import StorageError
from mmgen.files import SEAL, open_sealed, write_json
from mmgen.ops.housekeeping.leftovers import orphans
from mmgen.ops.runs.cache import run_stage
from mmgen.training import checkpoints
from mmgen.weights import load_tensors, save_tensors
from tests.support.effort import effort

REPOSITORY = Path(__file__).resolve().parents[2]
POINTS = {"copyfile", "fsync", "replace", "rmtree", "save_tensors", "seal", "write_json"}


@pytest.fixture
def fast() -> Iterator[Path]:
    """A folder in memory where there is one: what is killed here is a process, not a disk."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        yield Path(folder)


def trainer(scenario: str, folder: Path, number: int, seconds: float = 900, **environment: str) -> str:
    command = [sys.executable, "-m", "tests.support.trainer", scenario, str(folder), str(number)]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=seconds,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_kill_between_any_two_writes_of_a_checkpoint_costs_nothing_but_time(fast: Path) -> None:
    said = trainer("kill", fast, 31)  # the calls of the third checkpoint, when the first one is removed

    assert set(re.findall(r"^[a-z_]+$", said, re.MULTILINE)) == POINTS


@pytest.mark.minutes
@pytest.mark.parametrize("fault", ["kill", "full"])
def test_a_run_that_is_killed_or_meets_a_full_disk_at_any_write_ends_in_the_same_bytes(fast: Path, fault: str) -> None:
    said = trainer(fault, fast, 1, seconds=3600)

    assert set(re.findall(r"^[a-z_]+$", said, re.MULTILINE)) == POINTS


def test_kills_at_random_moments_end_in_the_same_bytes_and_no_row_twice(fast: Path) -> None:
    assert "kills" in trainer("random", fast, 5)


@pytest.mark.minutes
def test_two_hundred_kills_end_in_the_same_bytes(fast: Path, tiny_emoji: Path) -> None:
    """A day's worth, over one training of the default recipe, or two where the machine is fast."""
    said = trainer("recipe", fast, 200, seconds=7200, TINY_EMOJI=str(tiny_emoji))

    assert said.startswith("kills 200 runs ")


def three(folder: Path) -> None:
    for step in (1, 2):
        checkpoints.save(folder, step, {"x": torch.tensor([float(step)])}, {})


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", SEAL, "metrics.jsonl"])
def test_a_flipped_bit_in_a_checkpoint_is_named_and_the_one_before_is_taken(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    three(tmp_path)
    broken = tmp_path / "step-000002" / name
    content = bytearray(broken.read_bytes())
    content[len(content) // 2] ^= 1
    broken.write_bytes(content)

    found = checkpoints.resume(tmp_path)

    assert found is not None
    assert found[1]["step"] == 1
    assert "step-000002" in capsys.readouterr().err
    assert [path.name for path in sorted(tmp_path.glob("step-*"))] == ["step-000001"]


def test_a_full_disk_is_said_with_path_and_room_and_the_checkpoint_before_is_kept(tmp_path: Path) -> None:
    three(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # the system refuses larger files, as a full disk
    try:
        with pytest.raises(StorageError, match=r"step-000003.*MiB free.*make room") as caught:
            checkpoints.save(tmp_path, 3, {"x": torch.zeros(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000001", "step-000002"]
    open_sealed(tmp_path / "step-000002")


def test_only_sealed_checkpoints_count_and_unsealed_ones_are_swept(tmp_path: Path) -> None:
    three(tmp_path)
    for step in (7, 8, 9):
        (tmp_path / f"step-{step:06d}").mkdir()
        save_tensors(tmp_path / f"step-{step:06d}" / "tensors.safetensors", {"x": torch.zeros(1)})
    (tmp_path / ".metrics.jsonl.1234.part").write_text("half")

    checkpoints.save(tmp_path, 3, {"x": torch.zeros(1)}, {})
    assert [path.name for path in sorted(tmp_path.glob(f"*/{SEAL}"))] == [SEAL, SEAL]
    found = checkpoints.resume(tmp_path)

    assert found is not None
    assert found[1]["step"] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000002", "step-000003"]


HEADER = json.dumps({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
TWO = json.dumps(
    {name: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for name in ("x", "y")}  # the same bytes twice
).encode()
MANY = json.dumps({f"x{n}": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for n in range(200_000)}).encode()
MALFORMED = {
    "empty": b"",
    "cut": struct.pack("<Q", len(HEADER)) + HEADER + bytes(8),
    "longer": struct.pack("<Q", len(HEADER)) + HEADER + bytes(32),
    "header of 2^60 bytes": struct.pack("<Q", 2**60) + HEADER,
    "header is no JSON": struct.pack("<Q", 16) + b"\xff" * 16,
    "overlapping": struct.pack("<Q", len(TWO)) + TWO + bytes(16),
    "many overlapping": struct.pack("<Q", len(MANY)) + MANY + bytes(16),
    "a zip": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_weights_are_refused_with_little_work_and_memory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(MALFORMED[kind])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with effort() as refusing, pytest.raises(StorageError, match=r"weights\.safetensors' cannot be loaded"):
        load_tensors(path)

    assert refusing.units < 100
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 200 * 1024


@pytest.mark.parametrize("signals", [1, 2])
def test_sigterm_saves_a_checkpoint_and_a_second_one_ends_before_the_next_step(fast: Path, signals: int) -> None:
    command = [sys.executable, "-m", "tests.support.trainer", "stop", str(fast), str(signals)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY, timeout=900)

    said = done.stdout.splitlines()
    found = checkpoints.newest(fast)
    assert found is not None
    assert said[:3] == ["step 1", "step 2", "step 3"], done.stderr
    if signals == 1:
        assert done.returncode == 1  # ended by the exception that says so
        assert len(said) <= 4  # a stop falls between two steps
        assert found[1]["step"] == len(said)
    else:
        assert done.returncode == 128 + signal.SIGTERM
        assert len(said) == 3
        assert found[1]["step"] in (2, 3)  # its own checkpoint comes after the signal or before it


def test_outputs_can_be_read_by_another_user_whatever_the_umask(tmp_path: Path) -> None:
    def work(out: Path) -> None:
        write_json(out / "model" / "config.json", {})
        (out / "samples").mkdir()
        (out / "metrics.jsonl").write_text("{}\n")

    before = os.umask(0o077)
    try:
        folder = run_stage("train", "k" * 16, tmp_path / "runs", work, facts={}).folder
    finally:
        os.umask(before)

    inside = [folder, *folder.rglob("*"), *list(folder.parents)[:3]]
    assert {oct(path.stat().st_mode & 0o777) for path in inside if path.is_dir()} == {"0o755"}
    assert {oct(path.stat().st_mode & 0o777) for path in inside if path.is_file()} == {"0o644"}


def test_orphans_are_what_nobody_holds_and_nothing_else(tmp_path: Path) -> None:
    stages = tmp_path / "stages" / "train"
    run_stage("train", "sealed", tmp_path, lambda out: (out / "one").write_text("1"), facts={})
    (stages / "sealed.work" / "out").mkdir(parents=True)  # killed between the rename and the removal
    (stages / "failed.work" / "scratch").mkdir(parents=True)
    (stages / "held.work").mkdir()
    (stages / ".copy.part").write_text("half")
    seen: list[list[str]] = []

    def inside(out: Path) -> None:
        seen.append([path.name for path in orphans(tmp_path, 0)])

    run_stage("train", "held", tmp_path, inside, facts={})

    assert seen == [[".copy.part", "failed.work", "sealed.work"]]
    assert [path.name for path in orphans(tmp_path, 3600)] == ["sealed.work"]
