"""Faults of the pipeline: hostile parameters, steps that are killed or half done, clocks that are wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mmgen.errors import ConfigError, StorageError
from mmgen.files import read_json
from mmgen.ops.runs.run import open_run
from mmgen.ops.stages import parameters
from mmgen.ops.stages.evaluate import evaluate
from mmgen.ops.stages.judge import judge
from mmgen.ops.stages.train import train
from mmgen.ops.stages.validate import validate
from mmgen.progress import choose
from pipelines.cluster import compile as compiling
from tests.support.whole_run import SMALL, WholeRun, mmgen, place

HOSTILE = {
    "command": "training.steps=$(touch X)",
    "backticks": "training.steps=`touch X`",
    "second command": "training.steps=4 && touch X",
    "placeholder": "data.name={{$}}",
    "another input": "data.name={{$.inputs.parameters['root']}}",
    "option": "--root=/elsewhere",
    "quotes": "data.name='\"",
    "no character": "data.name=a\x00b",
    "two hundred thousand": "data.name=" + "a" * 200_000,
    "emoji": "data.name=\u2764\ufe0f",
    "out of the folder": "data.name=../../etc",
}

CHILD = """
import json, sys
from kfp import local
from pipelines.training import pipeline
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[1] + "/kfp", raise_on_error=True)
pipeline()(**json.loads(open(sys.argv[2]).read()))
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_36_a_hostile_setting_is_refused_in_one_line_before_the_run(tmp_path: Path, name: str) -> None:
    if "\0" in HOSTILE[name]:  # no program can be given it; the test of the runner below has it
        pytest.skip("the operating system refuses a NUL in an argument")
    if len(HOSTILE[name]) > 100_000:
        pytest.skip("the operating system refuses an argument of this length; the test of the runner below has it")
    done = mmgen("run", "emoji", "--set", HOSTILE[name], root=tmp_path / "runs")

    assert done.returncode == 10, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.rglob("X"))
    assert not (tmp_path / "runs" / "stages").exists()


@pytest.mark.minutes
@pytest.mark.parametrize("name", HOSTILE)
def test_36_a_hostile_parameter_of_the_pipeline_itself_reaches_no_shell(
    tmp_path: Path, tiny_emoji: Path, name: str
) -> None:
    """As somebody types it into the Kubeflow UI: past the command line, into KFP's real local runner."""
    parameters = {
        "recipe": "emoji",
        "settings": HOSTILE[name],
        "root": str(tmp_path / "runs"),
        "data": str(tiny_emoji.parent),
    }
    (tmp_path / "parameters.json").write_text(json.dumps(parameters))
    line = [sys.executable, "-c", CHILD, str(tmp_path), str(tmp_path / "parameters.json")]

    done = subprocess.run(line, **place(tmp_path / "runs"), check=False, capture_output=True, text=True)

    assert done.returncode != 0
    assert not list(tmp_path.rglob("X"))
    assert not (tmp_path / "runs" / "stages").exists()


def test_36_no_compiled_task_puts_a_parameter_into_a_shell_line() -> None:
    spec = next(iter(yaml.safe_load_all(compiling.compiled())))
    for name, executor in spec["deploymentSpec"]["executors"].items():
        container = executor["container"]
        for word in container.get("command", []):
            assert "{{$" not in word, f"{name}: a placeholder in {word!r}"
        assert all("{{$" not in word or word in ("{{$}}",) for word in container.get("args", []))


def test_37_what_a_stage_left_without_a_seal_is_read_by_nobody(
    tmp_path: Path, tiny_emoji: Path, great_expectations: None
) -> None:
    """The folder of a training that looks whole but was never sealed, as a copy that was cut short would leave it."""
    run = open_run("emoji", SMALL, tmp_path / "runs", tiny_emoji.parent)
    progress = choose(None, sys.stderr)
    validate(run, progress)
    judge(run, progress)
    train(run, progress)
    (run.folder("train") / "SEAL.json").unlink()

    with pytest.raises(StorageError, match=r"has no SEAL\.json: it was never finished; run its stage again"):
        evaluate(run, progress)

    train(run, progress)
    weights = run.folder("train") / "model" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    with pytest.raises(StorageError, match="was altered after sealing"):
        evaluate(run, progress)


def test_37_a_stage_that_is_done_twice_is_there_once_and_unchanged(ran: WholeRun) -> None:
    seals = {path: path.read_bytes() for path in (ran.root / "stages").glob("*/*/SEAL.json")}
    line = [sys.executable, "-m", "pipelines.cli", "run", "emoji", "--json", "--root", str(ran.root)]
    line += ["--data", str(ran.data), *(word for setting in SMALL for word in ("--set", setting))]

    done = subprocess.run(line, **place(ran.root), check=False, capture_output=True, text=True)

    assert {entry["state"] for entry in json.loads(done.stdout)["stages"].values()} == {"cached"}
    assert {path: path.read_bytes() for path in (ran.root / "stages").glob("*/*/SEAL.json")} == seals


DAY = 86_400
"""Longer than any stage takes here, and far from a clock's year."""
STAGE = """
import json, select, sys, time
# faketime shifts the deadlines of clock_nanosleep as well, which Python sleeps by; it leaves those of select alone.
time.sleep = lambda seconds: select.select([], [], [], seconds)
from pathlib import Path
from mmgen.files import read_json
from mmgen.ops.runs.run import open_run
from mmgen.ops.stages.table import FUNCTIONS
from mmgen.progress import choose
from tests.support.whole_run import SMALL
run = open_run("emoji", SMALL, Path(sys.argv[1]), Path(sys.argv[2]))
results = [FUNCTIONS[stage](run, choose(None, sys.stderr)) for stage in ("validate", "train")]
print(json.dumps([[result.state, result.seconds] for result in results]))
"""


@pytest.mark.parametrize("shift", ["-1y", "+1y"])
def test_38_a_clock_that_is_a_year_off_breaks_no_duration_and_no_cache(
    tmp_path: Path, tiny_emoji: Path, shift: str, great_expectations: None
) -> None:
    if shutil.which("faketime") is None:
        pytest.skip("no faketime on this machine (Debian's package faketime)")
    run = open_run("emoji", SMALL, tmp_path / "runs", tiny_emoji.parent)
    validate(run, choose(None, sys.stderr))  # by the right clock
    where = place(tmp_path / "runs")
    where["env"] |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "TZ": "Asia/Kathmandu"}
    line = ["faketime", "-f", shift, sys.executable, "-c", STAGE, str(tmp_path / "runs"), str(tiny_emoji.parent)]

    done = subprocess.run(line, **where, check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    (validated, _), (trained, seconds) = json.loads(done.stdout)
    assert (validated, trained) == ("cached", "ran")
    assert 0 < seconds < DAY
    assert 0 <= read_json(run.sealed("train") / "training.json")["seconds"] < DAY
    rows = [json.loads(row)["seconds"] for row in (run.folder("train") / "metrics.jsonl").read_text().splitlines()]
    assert rows == sorted(rows)
    assert rows[0] >= 0


def test_36_a_parameter_that_could_be_more_than_text_is_named(tmp_path: Path) -> None:
    for text in ("$(id)", "a`b", "{{$}}", 'a"b', "a\x00b"):
        with pytest.raises(ConfigError, match="is not allowed; leave it out"):
            parameters.plain("emoji", text, "runs", "data")
