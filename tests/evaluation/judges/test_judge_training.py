"""Judges learn by the common loop: a killed one goes on, and ends in the bytes of one that nobody killed."""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmgen.data.corpus import load_corpus
from mmgen.data.dataset import load
from mmgen.data.order import generator
from mmgen.data.shards import Sample
from mmgen.errors import ConfigError, TrainingError
from mmgen.evaluation.config import JUDGES
from mmgen.evaluation.judges import class_judge, views_judge
from mmgen.evaluation.judges.class_judge import IMAGE_PX, ClassJudge, classes_of
from mmgen.evaluation.judges.judge_training import altered
from mmgen.examples import spread
from mmgen.files import read_json, sha256_file
from mmgen.modalities import sound
from mmgen.modalities.image import to_tensor
from mmgen.models.base import seeded
from mmgen.ops.runs.keys import stage_keys
from mmgen.progress import Progress
from mmgen.recipes import Recipe, get
from mmgen.training import checkpoints
from mmgen.weights import load_tensors
from tests.conftest import rewrite

STEPS = 24
STOP = 15
SMALL = [
    f"judge.steps={STEPS}",
    "judge.batch=8",
    "judge.width=4",
    "judge.features=8",
    "judge.probes=10",
    "training.threads=1",
    "training.checkpoint_seconds=0",
]
KINDS = {"views": "emoji", "classes": "gan", "concepts": "fusion", "frames": "moving"}
"""Kind of judge that learns by steps -> a recipe that asks for it."""

CHILD = """
import importlib, os, signal, sys
from pathlib import Path
from mmgen.evaluation.config import JUDGES
from mmgen.progress import Progress
from mmgen.recipes import get

class Killer(Progress):
    def update(self, done, **figures):
        if done == int(sys.argv[3]):
            os.kill(os.getpid(), getattr(signal, sys.argv[4]))

recipe = get("emoji", sys.argv[5:])
out, scratch = Path(sys.argv[2]) / "out", Path(sys.argv[2]) / "scratch"
for folder in (out, scratch):
    folder.mkdir(parents=True, exist_ok=True)
importlib.import_module(JUDGES["views"]).train_judge(Path(sys.argv[1]), recipe, out, scratch, Killer())
"""


class Watched(Progress):
    """Notes what it is told, and may end the work as a crash would: between a step and its checkpoint."""

    def __init__(self, stop_at: int = 0) -> None:
        self.bars: list[tuple[str, int]] = []
        self.steps: list[int] = []
        self._stop_at = stop_at

    def start(self, stage: str, total: int, unit: str) -> None:
        self.bars.append((stage, total))

    def update(self, done: int, **figures: float) -> None:
        if done == self._stop_at:
            raise RuntimeError("killed")
        self.steps.append(done)


def judged(kind: str, data: Path, folder: Path, progress: Progress, settings: list[str] = SMALL) -> Path:
    """What the judge stage does: an empty `out`, and a `scratch` that may hold something."""
    (folder / "out").mkdir(parents=True)
    (folder / "scratch").mkdir(exist_ok=True)
    recipe = get(KINDS[kind], settings)
    assert recipe.judge.kind == kind
    importlib.import_module(JUDGES[kind]).train_judge(data, recipe, folder / "out", folder / "scratch", progress)
    return folder / "out"


def weights(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in folder.glob("*.safetensors")}


def rows(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def few(whole: Path, folder: Path, change: Callable[[Sample], Sample] = lambda sample: sample) -> Path:
    """A data set of 40 samples of all classes to learn from and 20 to measure with."""
    found = load(whole)
    splits = {}
    for name, n in (("judge", 40), ("test", 20)):
        samples = found.split(name)
        splits[name] = [samples[place] for place in spread(len(samples), n)]
    card = dataclasses.replace(found.card, modalities=(*found.card.modalities, "sound"))
    rewrite(folder, card, {name: [change(sample) for sample in samples] for name, samples in splits.items()})
    return folder


def with_tone(sample: Sample) -> Sample:
    """The digit's picture, and in place of its name spoken a tone whose pitch is the digit."""
    facts = sample.facts()
    time = np.arange(sound.RATE // 2) / sound.RATE
    tone = np.sin(2 * np.pi * 200 * (1 + int(facts["label"])) * time).astype(np.float32)
    facts["concept"] = str(facts["label"])
    return Sample(sample.key, {**sample.parts, "json": json.dumps(facts).encode(), "wav": sound.encode(tone)})


@pytest.fixture
def data(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A small data set for a kind of judge."""
    if kind == "views":
        tiny: Path = request.getfixturevalue("tiny_emoji")
        return tiny
    whole = request.getfixturevalue("moving" if kind == "frames" else "digits")
    return few(whole, tmp_path / "few", with_tone if kind == "concepts" else lambda sample: sample)


@pytest.mark.parametrize("kind", KINDS)
def test_a_judge_that_was_killed_goes_on_and_ends_in_the_same_bytes(kind: str, data: Path, tmp_path: Path) -> None:
    whole = judged(kind, data, tmp_path / "whole", Progress())
    with pytest.raises(RuntimeError, match="killed"):
        judged(kind, data, tmp_path / "killed", Watched(STOP))
    assert list((tmp_path / "killed" / "out").iterdir()) == []
    (tmp_path / "killed" / "out").rmdir()

    seen = Watched()
    again = judged(kind, data, tmp_path / "killed", seen)

    assert seen.bars == [("judge", STEPS)]
    assert seen.steps == list(range(STOP, STEPS + 1))
    assert len(weights(whole)) == (2 if kind == "concepts" else 1)
    assert weights(again) == weights(whole)
    assert read_json(again / "judge.json") == read_json(whole / "judge.json")
    assert rows(again) == rows(whole)
    assert min(row["loss"] for row in rows(whole)) > 0.1
    assert [row["step"] for row in rows(whole)] == [20, STEPS]
    named = {name for name in rows(whole)[0] if name.startswith("loss_")}
    assert named == ({"loss_image", "loss_sound"} if kind == "concepts" else {"loss_judge"})


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_a_judge_whose_process_was_ended_goes_on(tiny_emoji: Path, tmp_path: Path, how: str) -> None:
    settings = [*SMALL, "training.checkpoint_seconds=120"] if how == "SIGTERM" else SMALL
    command = [sys.executable, "-c", CHILD, str(tiny_emoji), str(tmp_path / "ended"), str(STOP), how, *settings]
    assert subprocess.run(command, check=False, capture_output=True).returncode != 0
    found = checkpoints.newest(tmp_path / "ended" / "scratch")
    assert found is not None
    # Asked to end between two steps, it takes one more and saves it; killed, it has the step before.
    assert found[1]["step"] == (STOP + 1 if how == "SIGTERM" else STOP - 1)
    (tmp_path / "ended" / "out").rmdir()

    seen = Watched()
    again = judged("views", tiny_emoji, tmp_path / "ended", seen)

    assert seen.steps[0] == found[1]["step"] + 1
    assert weights(again) == weights(judged("views", tiny_emoji, tmp_path / "whole", Progress()))


def by_hand(data: Path, recipe: Recipe) -> ClassJudge:
    """The class judge by a loop of ten lines: what the common one must come to, bit by bit."""
    torch.set_num_threads(recipe.training.threads)
    own, config = load_corpus(data, "judge"), recipe.judge
    classes = sorted(set(classes_of(own)))
    with seeded(generator(config.seed, "class judge")):
        judge = ClassJudge(classes, config.width, config.features)
    x_N3SS = to_tensor(own.images(IMAGE_PX))
    label_N = torch.tensor([classes.index(name) for name in classes_of(own)])
    optimiser = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.05, fused=True)
    for step in range(config.steps):
        rng = generator(config.seed, "class judge", step)
        rows_B = torch.randperm(len(x_N3SS), generator=rng)[: config.batch]
        loss = F.cross_entropy(judge(altered(x_N3SS[rows_B], rng)), label_N[rows_B], label_smoothing=0.05)
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 20, 2 * (1 - step / config.steps))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return judge


@pytest.mark.parametrize("kind", ["classes"])
def test_the_loop_leaves_a_judge_what_a_plain_one_would(kind: str, data: Path, tmp_path: Path) -> None:
    """It has no averaged weights, no clipped gradients and a schedule of its own: scores stated earlier still hold."""
    settings = [*SMALL, "judge.steps=110"]
    folder = judged(kind, data, tmp_path, Progress(), settings)

    found = load_tensors(folder / "judge.safetensors")

    expected = by_hand(data, get("gan", settings)).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("kind", ["views", "classes"])
def test_a_judge_whose_loss_is_not_finite_says_so_and_leaves_nothing(
    kind: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"views": views_judge, "classes": class_judge}[kind]
    monkeypatch.setattr(module, "to_tensor", lambda pictures: to_tensor(pictures) * float("nan"))

    with pytest.raises(TrainingError, match=rf"judge '{kind}': loss is not finite at step 0 .*--set judge\.seed=8$"):
        judged(kind, data, tmp_path, Progress())

    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["steps", "batch"])
def test_a_judge_that_could_not_learn_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"judge\.{name} must be at least 1, got 0"):
        get("emoji", [f"judge.{name}=0"])


@pytest.mark.parametrize(("recipe", "learns"), [("emoji", True), ("moving", True), ("speak", False), ("tunes", False)])
def test_the_key_of_a_judge_holds_the_loop_if_it_learns(recipe: str, learns: bool) -> None:
    keys = stage_keys(get(recipe), "0" * 32 + ".dir", [])

    assert ("mmgen.training.loop" in keys.parts["judge"]["code"]) is learns
    assert ("mmgen.training.checkpoints" in keys.parts["judge"]["code"]) is learns
