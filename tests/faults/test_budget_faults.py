"""Attempts, seconds and GPU seconds of a run hold whatever retries it, and what was spent is known afterwards."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mmgen.errors import BudgetError, ConfigError, DataError, MmgenError, OutOfMemoryError, StorageError, TrainingError
from mmgen.ops.runs import attempts, ledger
from mmgen.ops.runs.cache import run_stage
from mmgen.ops.runs.run import Run
from mmgen.recipes import describe, get
from mmgen.recipes.limits import Limits
from tests.support.runs import small_run

REPOSITORY = Path(__file__).resolve().parents[2]
DIES = """
import os, signal, sys
from pathlib import Path
from mmgen.ops.runs.attempts import attempt
from tests.support.runs import small_run

run = small_run(Path(sys.argv[1]))
(run.root / "stages" / "train").mkdir(parents=True, exist_ok=True)
with attempt(run, "train") as tried:
    tried.beat()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def limited(root: Path, **limits: Any) -> Run:
    run = small_run(root)
    return dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, limits=Limits(**limits)))


def try_once(run: Run, work: Any, stage: str = "train") -> None:
    """As `stages.stage.make`, without MLflow."""

    def guarded(out: Path) -> None:
        with attempts.attempt(run, stage):
            work(out)

    run_stage(stage, run.keys.stages[stage], run.root, guarded, facts={})


def outcomes(run: Run, stage: str = "train") -> list[str]:
    return [row["outcome"] for row in ledger.attempts(ledger.ledger_of(run, stage))]


def test_eighty_one_retries_run_as_often_as_the_limit_says(tmp_path: Path) -> None:
    run, worked, refused = limited(tmp_path, max_attempts=3), [], []

    def fail(out: Path) -> None:
        worked.append(out)
        raise StorageError("the store is down")

    for _ in range(81):
        try:
            try_once(run, fail)
        except BudgetError as error:
            refused.append(str(error))
        except StorageError:
            pass

    assert (len(worked), len(refused)) == (3, 78)
    assert BudgetError.exit_code == 70
    assert str(ledger.ledger_of(run, "train")) in refused[0]
    assert "--set limits.max_attempts=6" in refused[0]
    assert outcomes(run) == ["transient"] * 3
    try_once(limited(tmp_path, max_attempts=4), lambda out: None)
    assert outcomes(run)[-1] == "ok"


def test_an_attempt_that_was_killed_counts_and_costs_what_its_last_row_says(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DIES, str(tmp_path)]
    assert subprocess.run(command, check=False, cwd=REPOSITORY).returncode == -signal.SIGKILL
    run = limited(tmp_path, max_attempts=1)

    assert outcomes(run) == ["killed"]
    assert ledger.cost(run).cpu_seconds >= 0
    with pytest.raises(BudgetError, match="1 attempts failed, the last with 'killed'"):
        try_once(run, lambda out: None)


@pytest.mark.parametrize(
    ("error", "outcome", "counted"),
    [
        (ConfigError("no"), "configuration", False),
        (DataError("no"), "data", False),
        (KeyboardInterrupt(), "interrupted", False),
        (TrainingError("nan"), "training", True),
        (StorageError("down"), "transient", True),
        (MemoryError(), "memory", True),
        (OutOfMemoryError("no"), "memory", True),
        (ValueError("ours"), "bug", True),
    ],
)
def test_what_failed_is_told_apart_and_only_failures_use_up_attempts(
    tmp_path: Path, error: BaseException, outcome: str, counted: bool
) -> None:
    run = limited(tmp_path, max_attempts=1)

    def fail(out: Path) -> None:
        raise error

    with pytest.raises((MmgenError, KeyboardInterrupt, ValueError)):
        try_once(run, fail)

    assert outcomes(run) == [outcome]
    with pytest.raises(BudgetError) if counted else contextlib.nullcontext():
        try_once(run, lambda out: None)


@pytest.mark.parametrize("limit", ["max_seconds", "max_gpu_seconds"])
def test_a_stage_in_progress_is_stopped_as_by_sigterm_when_its_seconds_are_spent(
    tmp_path: Path, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "gpus", lambda: 2)  # stands for a machine with two
    run = limited(tmp_path, **{limit: 0.6})
    saved = []

    def work(out: Path) -> None:
        def stop(number: int, frame: object) -> None:
            saved.append(number)  # where training saves its checkpoint
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGTERM, stop)
        try:
            time.sleep(600)
        finally:
            signal.signal(signal.SIGTERM, before)

    with pytest.raises(BudgetError, match=rf"limits\.{limit} is 0\.6.*--set limits\.{limit}=1\.2"):
        try_once(run, work)
    with pytest.raises(BudgetError, match="the run has used"):  # in another stage too: the budget is the run's
        try_once(run, lambda out: None, stage="judge")

    assert saved == [signal.SIGTERM]
    assert outcomes(run) == ["budget"]
    assert ledger.cost(run).gpu_seconds == pytest.approx(2 * ledger.cost(run).seconds, abs=0.1)


def test_memory_that_ran_out_halves_the_batch_of_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, seen = limited(tmp_path), []

    def fail(out: Path) -> None:
        seen.append(ledger.parts(run, "train"))
        raise MemoryError

    for more in (0, 0, 0, 1):
        monkeypatch.setattr(attempts, "memory_limit", lambda more=more: 2**30 + more)
        with pytest.raises(OutOfMemoryError) as caught:
            try_once(run, fail)

    assert caught.value.exit_code == 50
    assert seen == [1, 2, 4, 1]  # the last machine is larger


def test_a_kill_with_the_memory_nearly_full_is_taken_for_what_it_was(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DIES, str(tmp_path)]
    subprocess.run(command, check=False, cwd=REPOSITORY)
    run, seen = limited(tmp_path), []
    path = ledger.ledger_of(run, "train")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[-1]["memory_bytes"] = int(0.95 * rows[0]["memory_limit_bytes"])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    try_once(run, lambda out: seen.append(ledger.parts(run, "train")))

    assert seen == [2]
    assert outcomes(run) == ["memory", "ok"]


def test_a_row_that_was_cut_short_spoils_no_other(tmp_path: Path) -> None:
    run = limited(tmp_path)
    try_once(run, lambda out: None)
    path = ledger.ledger_of(run, "train")
    with path.open("a") as file:
        file.write('{"attempt": 2, "star')
    run.folder("train").rename(tmp_path / "gone")

    try_once(run, lambda out: None)

    assert outcomes(run) == ["ok", "ok"]


def test_cost_is_summed_over_stages_and_attempts_and_priced_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = limited(tmp_path)
    for stage in ("judge", "train"):
        try_once(run, lambda out: sum(range(3_000_000)), stage=stage)

    cost = ledger.cost(run)

    assert cost.attempts == 2
    assert cost.cpu_seconds > 0
    assert "money" not in cost.figures()
    monkeypatch.setenv("MMGEN_PRICE_CPU_HOUR", "3600")
    assert cost.figures()["money"] == pytest.approx(cost.cpu_seconds, abs=0.001)
    monkeypatch.setenv("MMGEN_PRICE_GPU_HOUR", "cheap")
    with pytest.raises(ConfigError, match="MMGEN_PRICE_GPU_HOUR='cheap'"):
        cost.figures()


def test_limits_are_settings_that_change_no_key() -> None:
    recipe = get("emoji", ["limits.max_attempts=2", "limits.max_seconds=60"])

    assert (recipe.limits.max_attempts, recipe.limits.max_seconds) == (2, 60.0)
    assert describe(recipe) == describe(get("emoji"))
    with pytest.raises(ConfigError, match=r"limits\.max_attempts must be above 0"):
        get("emoji", ["limits.max_attempts=0"])


def test_a_ledger_can_be_read_by_the_next_attempt_only_under_the_stage_lock(tmp_path: Path) -> None:
    run = limited(tmp_path)
    try_once(run, lambda out: None)

    first = json.loads(ledger.ledger_of(run, "train").read_text().splitlines()[0])

    assert (first["attempt"], first["pid"], first["parts"]) == (1, os.getpid(), 1)
    assert first["started"].endswith("Z")
