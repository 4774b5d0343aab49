"""Several processes learn what one does; what goes wrong in one of them stops all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmgen.errors import ConfigError, WorkersError
from mmgen.files import sha256_file
from mmgen.models.base import Share
from mmgen.recipes import get
from mmgen.training import checkpoints, workers
from mmgen.weights import load_tensors
from tests.support.worker_group import SMALL, STEPS

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> tuple[dict[str, list[int]], list[dict[str, str]]]:
    """Exit codes of the groups of a scenario, and the errors that its processes said."""
    command = [sys.executable, "-m", "tests.support.worker_group", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY, timeout=300)
    assert done.returncode == 0, done.stderr
    *errors, codes = [json.loads(line) for line in done.stdout.splitlines()]
    return codes, errors


def rows(folder: Path) -> list[dict[str, float]]:
    return [
        {name: value for name, value in json.loads(line).items() if name != "seconds"}
        for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


Emoji = tuple[Path, dict[str, list[int]], list[dict[str, str]]]


@pytest.fixture(scope="module")
def emoji_runs(tiny_emoji: Path, tmp_path_factory: pytest.TempPathFactory) -> Emoji:
    folder = tmp_path_factory.mktemp("groups")
    return (folder, *run("emoji", str(tiny_emoji), str(folder)))


@pytest.mark.parametrize("size", [2, 3])
def test_processes_that_share_uneven_batches_learn_what_one_does(emoji_runs: Emoji, size: int) -> None:
    folder, codes, _ = emoji_runs
    one, many = (folder / str(number) / "out" for number in (1, size))

    assert codes["1"] == [0]
    assert codes[str(size)] == [0] * size
    assert len(rows(one)) == STEPS
    for expected, found in zip(rows(one), rows(many), strict=True):
        assert found == pytest.approx(expected, rel=2e-5)
    expected, found = (load_tensors(path / "model" / "weights.safetensors") for path in (one, many))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-6)
    record = json.loads((many / "training.json").read_text())
    assert (record["processes"], record["device"]) == (size, "cpu")


def test_only_the_first_process_writes(emoji_runs: Emoji) -> None:
    folder, _, _ = emoji_runs
    assert {path.name for path in (folder / "2" / "out").iterdir()} == {
        "model", "metrics.jsonl", "samples", "training.json",
    }  # fmt: skip
    assert not [path for path in (folder / "2" / "other-1").rglob("*") if path.is_file()]


def test_a_group_whose_process_was_killed_goes_on_to_the_same_bytes(emoji_runs: Emoji) -> None:
    folder, codes, errors = emoji_runs

    assert codes["killed"] == [WorkersError.exit_code, -9]
    assert codes["again"] == [0, 0]
    assert [error["error"] for error in errors] == ["WorkersError"]
    assert "another process of the training is gone" in errors[0]["text"]
    for name in ("model/weights.safetensors", "samples/step-000012.png"):
        assert sha256_file(folder / "killed" / "out" / name) == sha256_file(folder / "2" / "out" / name), name
    assert rows(folder / "killed" / "out") == rows(folder / "2" / "out")


Faults = tuple[Path, dict[str, list[int]], list[dict[str, str]]]


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Faults:
    folder = tmp_path_factory.mktemp("faults")
    return (folder, *run("faults", str(folder)))


def test_families_that_draw_for_their_rows_learn_what_one_does_in_as_many_parts(faults: Faults) -> None:
    folder, codes, _ = faults

    assert codes["pair"] == [0, 0]
    expected, found = rows(folder / "parts"), rows(folder / "pair" / "0")
    assert len(found) == STEPS
    for row, other in zip(expected, found, strict=True):
        assert other == pytest.approx(row, rel=2e-5)
    expected, found = (load_tensors(folder / name / "weights.safetensors") for name in ("parts", "pair/0"))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize(
    ("fault", "code", "error", "said"),
    [
        ("nan", 10, "TrainingError", "not finite at step 5"),
        ("memory", 60, "MemoryError", "in one of the processes"),
        ("stop", 60, "KeyboardInterrupt", "stopped at step "),
    ],
)
def test_what_happens_in_one_process_stops_all_at_the_same_step(
    faults: Faults, fault: str, code: int, error: str, said: str
) -> None:
    folder, codes, errors = faults

    assert codes[fault] == [code, code]
    first, second = (found["text"] for found in errors if found["error"] == error)
    assert said in first
    newest = checkpoints.newest(folder / fault / "0")
    assert newest is not None
    if fault == "stop":  # Python runs the handler of a signal when it comes to it, perhaps a step later
        assert first == second == f"stopped at step {newest[1]['step']}; run again to go on from there"
        assert newest[1]["step"] in (6, 7)
    else:
        assert newest[1]["step"] == 5
        assert said in second


def test_every_row_is_in_one_share() -> None:
    twice = torch.arange(7).repeat(2)
    shares = [Share(first, 3).rows(twice, 2).tolist() for first in range(3)]

    assert shares == [[0, 3, 6, 0, 3, 6], [1, 4, 1, 4], [2, 5, 2, 5]]
    with pytest.raises(ConfigError, match="batch of 2 cannot be taken in 3 parts"):
        Share(0, 3).rows(torch.zeros(2))


def test_a_recipe_for_two_processes_is_refused_by_one(tiny_emoji: Path, tmp_path: Path) -> None:
    from mmgen.progress import Progress
    from mmgen.training.train import train

    with pytest.raises(ConfigError, match=r"training.processes is 2, and 1 take part"):
        train(tiny_emoji, get("emoji", [*SMALL, "training.processes=2"]), tmp_path, tmp_path, Progress())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine: training on cuda is not tried")
def test_a_recipe_trains_on_a_gpu_and_its_model_draws_on_the_cpu(tiny_emoji: Path, tmp_path: Path) -> None:
    from mmgen.models import load
    from mmgen.progress import Progress
    from mmgen.training.train import train

    for name in ("first", "second"):  # the second goes on from the first one's checkpoint, at its end
        (tmp_path / name).mkdir()
        recipe = get("emoji", [*SMALL, "training.device=cuda"])
        train(tiny_emoji, recipe, tmp_path / name, tmp_path / "work", Progress())

    assert json.loads((tmp_path / "first" / "training.json").read_text())["device"] == "cuda"
    weights = [load_tensors(tmp_path / name / "model" / "weights.safetensors") for name in ("first", "second")]
    torch.testing.assert_close(*weights)
    drawn = load(tmp_path / "first" / "model").generate({"text": ["cat"]}, "image", 1, seed=0, options={})
    assert len(drawn) == 1


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match="this machine has 0 GPUs"):
        workers.alone("cuda")
    with pytest.raises(ConfigError, match=r"unknown training.device 'gpu'"):
        get("emoji", ["training.device=gpu"])
