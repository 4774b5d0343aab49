"""Scores: checked against an outside library, and against models whose scores are known."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmgen.data.corpus import load_corpus
from mmgen.errors import StorageError
from mmgen.evaluation.config import JudgeConfig
from mmgen.evaluation.evaluate import evaluate, keep_all
from mmgen.evaluation.judges.judge_training import altered
from mmgen.evaluation.judges.views_judge import IMAGE_PX, Judge, load_judge, train_judge
from mmgen.evaluation.metrics.statistics import (
    frechet_distance,
    kernel_distance,
    kernel_distance_interval,
    precision_recall,
)
from mmgen.evaluation.tasks.captioned import answer
from mmgen.evaluation.tasks.task import Section, Subject
from mmgen.examples import Example
from mmgen.modalities.image import Picture
from mmgen.models.anyto.config import AnyToConfig
from mmgen.models.base import Model
from mmgen.progress import Progress
from mmgen.recipes import Recipe, get
from mmgen.training.train import train

SETTINGS = [
    "model.image_px=16", "model.components=16", "model.image_tokens=4", "model.width=16", "model.head_width=32",
    "model.memory_rows=64", "model.image_batch=8", "model.text_batch=4", "training.steps=4", "training.threads=1",
    "training.sample_every=4", "judge.steps=30", "judge.batch=32", "judge.probes=100", "evaluation.seen=50",
]  # fmt: skip


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return get("emoji", SETTINGS)


@pytest.fixture(scope="module")
def judge_folder(tiny_emoji: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    train_judge(tiny_emoji, recipe, folder, tmp_path_factory.mktemp("scratch"), Progress())
    return folder


@pytest.fixture(scope="module")
def scored(
    tiny_emoji: Path, recipe: Recipe, judge_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Folders of a small model and of its evaluation."""
    folder = tmp_path_factory.mktemp("scored")
    for name in ("train", "work", "evaluate"):
        (folder / name).mkdir()
    train(tiny_emoji, recipe, folder / "train", folder / "work", Progress())
    evaluate(folder / "train", judge_folder, tiny_emoji, recipe, folder / "evaluate", Progress())
    return folder / "train", folder / "evaluate"


def features(seed: int, n: int, shift: float = 0.0) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.random.default_rng(seed).normal(shift, 1, (n, 8))


def test_kernel_and_frechet_distance_agree_with_torchmetrics() -> None:
    drawn, real = features(0, 60, 0.3), features(1, 80)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchmetrics.image.fid import FrechetInceptionDistance
        from torchmetrics.image.kid import KernelInceptionDistance

        class Same(torch.nn.Module):
            num_features = 8

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x.reshape(len(x), -1)[:, :8].double()

        # Equal sizes, so that the library's only subset is the whole set.
        kid = KernelInceptionDistance(feature=Same(), subsets=1, subset_size=60, normalize=True)
        fid = FrechetInceptionDistance(feature=Same(), normalize=True, input_img_size=(1, 2, 4)).set_dtype(
            torch.float64
        )
        for metric, n in ((kid, 60), (fid, 80)):
            metric.update(torch.from_numpy(real[:n]).reshape(n, 1, 2, 4), real=True)
            metric.update(torch.from_numpy(drawn).reshape(60, 1, 2, 4), real=False)
        theirs = float(kid.compute()[0]), float(fid.compute())

    assert kernel_distance(drawn, real[:60]) == pytest.approx(theirs[0], rel=1e-4)
    assert frechet_distance(drawn, real) == pytest.approx(theirs[1], rel=1e-3)


def test_the_interval_of_the_kernel_distance_holds_zero_for_equal_distributions_and_not_for_others() -> None:
    rng = np.random.default_rng(0)

    _, low, high = kernel_distance_interval(features(2, 200), features(3, 200), rng, 100)
    _, other_low, _ = kernel_distance_interval(features(2, 200, 1.0), features(3, 200), rng, 100)

    assert low < 0 < high
    assert other_low > 0


def test_precision_falls_for_bad_pictures_and_recall_for_missing_kinds() -> None:
    real = np.concatenate([features(4, 100), features(5, 100, 20.0)])

    one_kind = precision_recall(features(6, 100), real)
    nonsense = precision_recall(features(7, 100, 100.0), real)

    assert one_kind[0].mean() > 0.8
    assert 0.3 < one_kind[1].mean() < 0.6
    assert nonsense[0].mean() == 0


def test_altered_views_differ_and_stay_the_same_picture_for_one_seed(tiny_emoji: Path) -> None:
    from mmgen.modalities.image import to_tensor

    pictures = to_tensor(load_corpus(tiny_emoji, "judge").images(IMAGE_PX)[:4])

    first, second = (altered(pictures, torch.Generator().manual_seed(1)) for _ in range(2))

    assert torch.equal(first, second)
    assert (first - pictures).abs().mean() > 0.01


def test_a_judge_of_another_size_is_refused(judge_folder: Path) -> None:
    with pytest.raises(StorageError, match="holds no judge of this recipe"):
        load_judge(judge_folder, JudgeConfig(width=16))


def test_judge_recognises_real_pictures_that_it_never_saw(judge_folder: Path) -> None:
    accuracy = json.loads((judge_folder / "judge.json").read_text())["accuracy"]

    assert accuracy["n"] == 100
    assert accuracy["value"] > 0.3  # by chance: 1 in 180
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]


def test_a_section_without_an_example_is_left_out(tmp_path: Path) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    full = Section("seen", "Seen", "What was seen.", [Example("red heart", {"real": picture})])
    empty = Section("mistakes", "Mistakes", "A perfect model makes none.", [])

    kept = keep_all([full, empty], tmp_path)

    assert [section["name"] for section in kept] == ["seen"]
    assert not (tmp_path / "mistakes.png").exists()


class Perfect(Model):
    """Draws the real picture of each caption and tells its real caption."""

    config = AnyToConfig(image_px=64)

    def __init__(self, pictures: list[Picture], captions: list[str]) -> None:
        super().__init__()
        self.known = {"image": pictures, "text": captions}

    def generate(self, given: object, to: str, n: int, *, seed: int, options: object) -> list[Any]:
        return self.known[to]


@pytest.mark.parametrize("honest", [True, False])
def test_real_pictures_rank_first_and_those_of_other_captions_do_not(
    tiny_emoji: Path, judge_folder: Path, recipe: Recipe, honest: bool
) -> None:
    corpus = load_corpus(tiny_emoji, "train")
    judge: Judge = load_judge(judge_folder, recipe.judge)
    real = corpus.images(64)
    shown = real if honest else [*real[1:], real[0]]
    subject = Subject(Perfect(shown, corpus.captions("en")), judge_folder, tiny_emoji, recipe, Progress())

    given = answer(subject, judge, corpus, [corpus], judge.features(real), "en", 0)

    right = np.mean([rank == 0 for rank in given.ranks])
    assert right == 1 if honest else right < 0.2


def test_evaluation_writes_every_score_with_its_interval_and_the_same_scores_each_time(
    scored: tuple[Path, Path], judge_folder: Path, tiny_emoji: Path, recipe: Recipe, tmp_path: Path
) -> None:
    metrics = json.loads((scored[1] / "metrics.json").read_text())

    evaluate(scored[0], judge_folder, tiny_emoji, recipe, tmp_path, Progress())

    assert {name for name in metrics if name.startswith("image.r1")} == {
        "image.r1_seen", "image.r1_compositions", "image.r1_concepts",
    }  # fmt: skip
    for name in ("image.kid", "image.fid", "text.exact_seen", "text.chrf_concepts", "codec.psnr", "judge.accuracy"):
        assert metrics[name]["low"] <= metrics[name]["value"] <= metrics[name]["high"], name
        assert metrics[name]["n"] > 0
    for name in ("metrics.json", "scores.json", "seen.png"):
        assert (tmp_path / name).read_bytes() == (scored[1] / name).read_bytes(), name


def test_every_section_of_the_report_names_files_that_exist(scored: tuple[Path, Path]) -> None:
    examples = json.loads((scored[1] / "examples.json").read_text())
    sections = {section["name"]: section for section in examples["sections"]}

    assert set(sections) == {
        "seen", "compositions", "concepts", "failures", "reconstructions",
        "words", "pixels", "interpolations", "neighbours",
    }  # fmt: skip
    for section in sections.values():
        assert (scored[1] / section["sheet"]).is_file()
    for tile in sections["concepts"]["tiles"]:
        assert tile["title"]
        assert [item["label"] for item in tile["media"]] == ["real", "drawn"]
        assert all((scored[1] / item["file"]).is_file() for item in tile["media"])
