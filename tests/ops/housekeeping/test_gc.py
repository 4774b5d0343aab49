"""What goes and what stays when a root is cleaned."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mmgen.errors import TrackingError
from mmgen.ops.housekeeping.gc import garbage, remove
from mmgen.ops.registry.registration import register
from mmgen.ops.registry.registry import champion
from mmgen.ops.runs.cache import run_stage
from mmgen.ops.runs.run import Run
from mmgen.ops.storage.locks import locked
from mmgen.ops.tracking.stage_run import stage_run
from tests.support.runs import make_trained, small_run

OLD = 20.0
"""Days since anything in these tests was used."""


def registered(root: Path, number: int, champion: str | None, decision: str = "promote") -> Run:
    run = small_run(root, number)
    make_trained(run, shade=number, champion=champion, decision=decision)
    out = root / "out"
    out.mkdir(exist_ok=True)
    with stage_run(run, "register", out) as tracked:
        register(run, tracked, out)
    with stage_run(run, "report", out):  # the last stage: the run is closed
        pass
    facts = {
        **run.facts("register"),
        "parts": {"inputs": {stage: run.keys.stages[stage] for stage in ("train", "gate")}},
    }
    run_stage("register", run.keys.stages["register"], root, lambda _: None, facts=facts)
    out.rename(root / f"out-{number}")
    return run


def age(root: Path, days: float = OLD) -> None:
    then = time.time() - days * 86400
    for path in root.rglob("*"):
        os.utime(path, (then, then), follow_symlinks=False)


def gone(root: Path) -> set[str]:
    return {thing.path.relative_to(root).as_posix() for thing in garbage(root, days=14)}


def stages(run: Run, *names: str) -> set[str]:
    return {f"stages/{name}/{run.keys.stages[name]}" for name in names}


def test_champion_previous_and_challenger_keep_what_they_were_made_from(root: Path) -> None:
    forgotten, previous = registered(root, 1, None), registered(root, 2, "1")
    now, challenger = registered(root, 3, "2"), registered(root, 4, "3", "inconclusive")
    age(root)

    assert gone(root) == stages(forgotten, "train", "gate", "register")

    remove(garbage(root, days=14), days=14)
    assert gone(root) == set()
    assert not forgotten.folder("train").exists()
    for run in (previous, now, challenger):
        assert run.folder("train").is_dir()
    found = champion(root, "mmgen-emoji")
    assert found is not None
    assert found[1] == now.folder("train") / "model"


def test_what_was_used_lately_stays(root: Path) -> None:
    run = small_run(root)
    make_trained(run)
    age(root)
    assert gone(root) == stages(run, "train", "gate")

    run_stage("train", run.keys.stages["train"], root, lambda _: None, facts={})  # finds what is there

    assert gone(root) == stages(run, "gate")


def test_an_open_run_keeps_its_stages_and_a_held_lock_its_work(root: Path) -> None:
    run, other = small_run(root, 1), small_run(root, 2)
    make_trained(run)
    work = other.folder("train").with_name(other.keys.stages["train"] + ".work")
    work.mkdir(parents=True)

    with stage_run(run, "evaluate", root / "out"), locked(other.folder("train"), wait=0):
        age(root)
        assert gone(root) == set()


def test_scores_of_a_named_model_and_the_training_it_began_from_stay(root: Path) -> None:
    now = registered(root, 1, None)
    facts = {**now.facts("evaluate"), "run_key": "other", "scores_of": now.keys.stages["train"]}
    run_stage("evaluate", "f" * 16, root, lambda _: None, facts=facts)
    run_stage("evaluate", "e" * 16, root, lambda _: None, facts={**facts, "scores_of": "other"})
    age(root)

    assert gone(root) == {"stages/evaluate/" + "e" * 16}


def test_rubbish_of_runs_that_ended_goes(root: Path) -> None:
    for name in ("kfp/a/task", "logs", "models/mmgen-emoji/7", "stages/train/0123456789abcdef.work/out"):
        (root / name).mkdir(parents=True)
    (root / "logs" / "a.log").write_text("x" * 1000)
    age(root)

    assert gone(root) == {"kfp/a", "logs/a.log", "models/mmgen-emoji/7", "stages/train/0123456789abcdef.work"}
    assert max(garbage(root, days=14), key=lambda thing: thing.bytes).path.name == "a.log"


def test_what_came_into_use_since_it_was_listed_is_left(root: Path) -> None:
    run = small_run(root)
    make_trained(run)
    age(root)
    listed = garbage(root, days=14)
    os.utime(run.folder("train"))

    removed = remove(listed, days=14)

    assert {thing.path for thing in removed} == {run.folder("gate")}
    assert run.folder("train").is_dir()


def test_without_a_registry_nothing_is_garbage(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trained(small_run(root))
    age(root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    with pytest.raises(TrackingError):
        garbage(root, days=14)
