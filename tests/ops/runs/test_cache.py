"""Stages run once, are sealed, and survive what happens to processes and disks."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmgen.errors import ConfigError, DataError, StorageError
from mmgen.files import SEAL, open_sealed, seal
from mmgen.ops.runs.cache import StageResult, flaw, run_stage, scratch
from mmgen.ops.runs.plan import plan
from mmgen.ops.runs.run import open_run
from mmgen.ops.stages.scores import scores_of
from mmgen.progress import Progress
from tests.support.runs import small_run

KEY = "0123456789abcdef"
REPOSITORY = Path(__file__).resolve().parents[3]
HOLDER = """
import sys, time
from pathlib import Path
from mmgen.ops.runs.cache import run_stage, scratch

def work(out):
    (out / "half.txt").write_text("half")
    (scratch(out) / "checkpoint").write_text("step 7")
    print("started", flush=True)
    time.sleep(float(sys.argv[2]))

run_stage("train", "0123456789abcdef", Path(sys.argv[1]), work, facts={})
"""


def write_one(out: Path) -> None:
    (out / "one.txt").write_text("one")


def run_one(root: Path, wait: float = 0) -> StageResult:
    return run_stage("train", KEY, root, write_one, facts={"recipe": "emoji"}, wait=wait)


@contextlib.contextmanager
def holder(root: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Another process in the middle of the stage."""
    command = [sys.executable, "-c", HOLDER, str(root), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "started\n"
            yield child
        finally:
            child.kill()


def test_a_stage_runs_once_and_is_found_again(tmp_path: Path) -> None:
    first, second = run_one(tmp_path), run_one(tmp_path)

    assert (first.state, second.state) == ("ran", "cached")
    assert first.folder == second.folder == tmp_path / "stages" / "train" / KEY
    assert open_sealed(first.folder)["recipe"] == "emoji"
    assert [path.name for path in first.folder.parent.iterdir()] == [KEY]


@pytest.mark.parametrize("damage", ["altered", "cut", "added", "removed", "unsealed"])
def test_a_damaged_output_is_made_again_with_a_word(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_one(tmp_path).folder
    if damage == "altered":
        (folder / "one.txt").write_text("two")
    elif damage == "cut":
        (folder / "one.txt").write_text("on")
    elif damage == "added":
        (folder / "two.txt").write_text("two")
    else:
        (folder / ("one.txt" if damage == "removed" else SEAL)).unlink()

    again = run_one(tmp_path)

    assert again.state == "ran"
    assert flaw(folder) is None
    assert "stage train runs again: " in capsys.readouterr().err


def test_what_failed_is_left_to_look_at_and_swept_by_the_next_try(tmp_path: Path) -> None:
    def fail(out: Path) -> None:
        (out / "page.html").write_text("three bad rows")
        (scratch(out) / "checkpoint").write_text("step 7")
        raise DataError("3 rows are bad")

    with pytest.raises(DataError, match="3 rows are bad"):
        run_stage("train", KEY, tmp_path, fail, facts={})

    work = tmp_path / "stages" / "train" / f"{KEY}.work"
    assert (work / "out" / "page.html").read_text() == "three bad rows"
    kept = []

    def resume(out: Path) -> None:
        assert list(out.iterdir()) == []
        kept.append((scratch(out) / "checkpoint").read_text())

    assert run_stage("train", KEY, tmp_path, resume, facts={}).state == "ran"
    assert kept == ["step 7"]
    assert not work.exists()


def test_a_second_runner_is_told_who_holds_the_stage(tmp_path: Path) -> None:
    with (
        holder(tmp_path, 600) as child,
        pytest.raises(StorageError, match=rf"is being made by process {child.pid} on .* since 20.*Z; wait for it"),
    ):
        run_one(tmp_path)


def test_a_waiting_runner_takes_what_the_first_one_made(tmp_path: Path) -> None:
    with holder(tmp_path, 0.5):
        result = run_one(tmp_path, wait=600)

    assert result.state == "cached"
    assert (result.folder / "half.txt").exists()


def test_a_killed_runner_frees_the_stage_and_leaves_its_checkpoint(tmp_path: Path) -> None:
    with holder(tmp_path, 600) as child:
        child.send_signal(signal.SIGKILL)
        child.wait()
    found = []

    def resume(out: Path) -> None:
        found.extend(path.name for path in [*out.iterdir(), *scratch(out).iterdir()])

    assert run_stage("train", KEY, tmp_path, resume, facts={}).state == "ran"
    assert found == ["checkpoint"]
    assert [path.name for path in (tmp_path / "stages" / "train").iterdir()] == [KEY]


def test_of_many_runners_at_once_one_does_the_work(tmp_path: Path) -> None:
    done, states = [], []

    def work(out: Path) -> None:
        done.append(out)
        time.sleep(0.05)

    def runner() -> None:
        states.append(run_stage("judge", KEY, tmp_path, work, facts={}, wait=600).state)

    threads = [threading.Thread(target=runner) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(done) == 1
    assert sorted(states) == ["cached"] * 7 + ["ran"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_refuses_is_one_line_with_the_way_out(tmp_path: Path, code: int) -> None:
    def work(out: Path) -> None:
        raise OSError(code, os.strerror(code), str(out / "weights"))

    with pytest.raises(StorageError, match=rf"weights' .*MiB free.*: {os.strerror(code)}; make room") as caught:
        run_stage("train", KEY, tmp_path, work, facts={})

    assert "\n" not in str(caught.value)


def test_a_root_that_is_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("not a folder")

    with pytest.raises(StorageError, match=r"could not write .*: Not a directory"):
        run_one(tmp_path / "root")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a file system of one megabyte")
def test_a_disk_that_is_really_full_leaves_nothing_sealed_and_the_next_try_is_good(tmp_path: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], check=False).returncode:
        pytest.skip("no right to mount")
    try:

        def fill(out: Path) -> None:
            (out / "weights").write_bytes(bytes(2**21))

        with pytest.raises(StorageError, match=r"\(0 MiB free\): No space left on device; make room"):
            run_stage("train", KEY, tmp_path, fill, facts={})
        assert run_one(tmp_path).state == "ran"
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_bug_is_not_dressed_up_as_a_disk_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run_stage("train", KEY, tmp_path, lambda out: (out / "absent").read_text(), facts={})


def test_plan_tells_done_from_never_run_from_changed_from_unfinished(tmp_path: Path) -> None:
    old, new = small_run(tmp_path, 1), small_run(tmp_path, 2)
    old.keys.parts["train"]["settings"] = {"training.steps": 3000}
    new.keys.parts["train"]["settings"] = {"training.steps": 2000}
    for run, stage in ((old, "train"), (new, "judge"), (new, "evaluate")):
        run_stage(stage, run.keys.stages[stage], tmp_path, write_one, facts=run.facts(stage))
    (new.folder("evaluate") / "one.txt").write_text("two")
    with pytest.raises(DataError):
        run_stage("gate", new.keys.stages["gate"], tmp_path, fail_at_once, facts={})

    reasons = plan(new)

    assert reasons["validate"] == ["never run"]
    assert reasons["judge"] == []
    assert reasons["train"] == ["training.steps: 3000 -> 2000"]
    assert "was altered after sealing" in reasons["evaluate"][0]
    assert reasons["gate"] == ["started before, not finished"]


def fail_at_once(out: Path) -> None:
    raise DataError("no")


def test_plan_does_not_compare_with_another_recipe_or_with_scores_of_the_champion(tmp_path: Path) -> None:
    run, other, champion = small_run(tmp_path, 1), small_run(tmp_path, 2, recipe="digits"), small_run(tmp_path, 3)
    run_stage("train", other.keys.stages["train"], tmp_path, write_one, facts=other.facts("train"))
    facts = {**champion.facts("train"), "scores_of": "f" * 16}
    run_stage("train", champion.keys.stages["train"], tmp_path, write_one, facts=facts)

    assert plan(run)["train"] == ["never run"]


def test_a_data_set_that_is_not_built_is_refused_with_the_command_that_builds_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data set 'emoji' is not built .* run: mmgen data build emoji"):
        open_run("emoji", [], tmp_path / "runs", tmp_path / "data")
    with pytest.raises(ConfigError, match="did you mean 'emoji'"):
        open_run("emojy", [], tmp_path / "runs", tmp_path / "data")


def test_a_seal_keeps_where_the_output_came_from(tmp_path: Path) -> None:
    run = small_run(tmp_path)

    folder = run_stage("gate", run.keys.stages["gate"], tmp_path, write_one, facts=run.facts("gate")).folder

    content = json.loads((folder / SEAL).read_text())
    assert {name: content[name] for name in ("run_key", "recipe", "data_version", "git_commit", "stage")} == {
        "run_key": run.keys.run_key,
        "recipe": "emoji",
        "data_version": run.data_version,
        "git_commit": run.git_commit,
        "stage": "gate",
    }


@pytest.mark.parametrize(
    ("number", "asked"),
    [(0, {}), (1, {"evaluation.seen": 1200, "evaluation.samples": 2000, "evaluation.seed": 1001})],
)
def test_scores_of_a_champion_that_still_hold_are_not_made_again_and_each_round_asks_twice_as_much(
    tmp_path: Path, number: int, asked: dict[str, int]
) -> None:
    from mmgen.ops.runs.keys import key_of, scores_parts

    run = small_run(tmp_path)
    run.keys.parts["evaluate"] |= {"inputs": {"train": run.keys.stages["train"]}, "settings": {}}
    folder = tmp_path / "stages" / "evaluate" / key_of(scores_parts(run.keys, "f" * 16, asked))
    folder.mkdir(parents=True)
    seal(folder)

    assert scores_of(run, tmp_path / "model", "f" * 16, Progress(), number) == folder
