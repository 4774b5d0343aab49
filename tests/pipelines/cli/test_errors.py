"""What goes wrong ends in one line with a way out, the right exit code, and nothing lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mmgen.errors import ConfigError
from mmgen.ops.stages.parameters import plain
from tests.support.whole_run import WholeRun, command, mmgen, place


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (("run", "emojy"), 10, "unknown recipe 'emojy'; did you mean 'emoji'?"),
        (("run", "emoji", "--set", "model.widht=1"), 10, "did you mean 'model.width'?"),
        (("run", "emoji", "--set", "seed"), 10, "setting 'seed' has no '='"),
        (("run", "emoji", "--set", "seed={{$}}"), 10, "expected int"),
        (("plan",), 10, "no recipe is named and there is no params.yaml"),
        (("data", "build", "emojis"), 20, "did you mean 'emoji'?"),
        (("data", "info", "nothing"), 20, "build it with: mmgen data build nothing"),
        (("history", "--recipe", "emojy"), 10, "did you mean 'emoji'?"),
        (("generate", "--from", "smell=rose", "--to", "image"), 10, "names no source"),
        (("generate", "--from", "text=rose", "--to", "image"), 2, "needs --out FILE"),
        (("rnu",), 2, "did you mean 'run'?"),
        (("data", "biuld"), 2, "did you mean 'build'?"),
        (("run", "--no-such-option"), 2, "No such option"),
    ],
)
def test_a_wrong_word_is_one_line_with_a_way_out(
    tmp_path: Path, arguments: tuple[str, ...], exit_code: int, says: str
) -> None:
    wants_root = arguments[0] not in ("data", "rnu")

    done = mmgen(*arguments, **({"root": tmp_path / "runs"} if wants_root else {"data": None}))

    lines = done.stderr.splitlines()
    assert done.returncode == exit_code, done.stderr
    assert len(lines) == 1
    assert lines[0].startswith("mmgen: ")
    assert says in lines[0]


def test_params_that_name_no_recipe_are_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("- emoji\n")

    done = mmgen("plan", root=tmp_path / "runs")

    assert done.returncode == 10
    assert "params.yaml does not name a recipe" in done.stderr


def test_params_name_the_recipe_and_its_settings(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("recipe: emoji\nsettings: {training: {steps: -1}}\n")

    done = mmgen("plan", root=tmp_path / "runs")

    assert done.returncode == 10
    assert "training.steps must be at least 1, got -1" in done.stderr


def test_a_cut_shard_stops_the_run_before_training(ran: WholeRun, tmp_path: Path) -> None:
    shutil.copytree(ran.data, tmp_path / "data")
    shard = sorted((tmp_path / "data" / "emoji").glob("train-*.tar"))[0]
    shard.write_bytes(shard.read_bytes()[:-2000])

    done = mmgen("run", "emoji", root=tmp_path / "runs", data=tmp_path / "data", small=True)

    line = done.stderr.splitlines()[-1]
    assert done.returncode == 20
    assert line.startswith("mmgen: stage validate: ")
    assert shard.name in line
    assert "log: " in line
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs" / "stages" / "train").exists()


def test_a_folder_that_cannot_be_written_is_named(ran: WholeRun, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    done = mmgen("run", "emoji", root=tmp_path / "file" / "runs", data=ran.data, small=True)

    assert done.returncode == 40
    assert "could not write" in done.stderr.splitlines()[-1]
    assert "MMGEN_ROOT" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("text", ["{{$.inputs}}", "$(id)", "a`b", 'a"b'])
def test_parameters_that_kubeflow_or_a_shell_could_read_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not allowed"):
        plain("emoji", text)
    with pytest.raises(ConfigError, match="is not allowed"):
        plain("emoji", "", text)


@pytest.mark.parametrize(
    ("how", "exit_code"), [(signal.SIGINT, 60), (signal.SIGTERM, 60), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_run_that_is_stopped_leaves_no_process_and_goes_on_later(
    ran: WholeRun, tmp_path: Path, how: signal.Signals, exit_code: int
) -> None:
    root = tmp_path / "runs"
    for stage in ("validate", "judge"):
        shutil.copytree(ran.root / "stages" / stage, root / "stages" / stage)
    line = command("run", "emoji", "--set", "training.steps=1000000", root=root, data=ran.data, small=True)
    line += ["--set", "training.steps=1000000"]
    with subprocess.Popen(line, **place(root), stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        for said in child.stderr:
            if said.split() == ["train", "running"]:
                break
        until(lambda: any((root / "stages" / "train").glob("*.lock")))

        child.send_signal(how)
        child.wait(300)

    assert child.returncode == exit_code
    until(lambda: not processes_of(root))
    assert [path.name.rpartition(".")[2] for path in (root / "stages" / "train").glob("*.work")] == ["work"]
    assert not any(path.is_dir() for path in (root / "stages" / "train").glob("?" * 16))


def until(happens: object, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not happens():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def processes_of(root: Path) -> list[str]:
    """Processes that write events below `root`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = path.read_bytes()
        except OSError:  # it has just ended, or is not ours
            continue
        if f"MMGEN_EVENTS={root}{os.sep}".encode() in environment:
            found.append(path.parent.name)
    return found
