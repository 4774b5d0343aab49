"""Styles and CycleGAN: unpaired data, two players, and a task that tells a true counterpart from a copy."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmgen import models
from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.dataset import load
from mmgen.data.order import generator
from mmgen.data.sources import styles as source
from mmgen.data.sources.packages import fetch
from mmgen.errors import ConfigError, DataError
from mmgen.evaluation.judges import views_judge
from mmgen.evaluation.tasks import transfer
from mmgen.evaluation.tasks.task import Subject
from mmgen.generate import Generator
from mmgen.modalities.image import Picture
from mmgen.models.base import Model
from mmgen.models.cyclegan.config import CycleGANConfig
from mmgen.models.cyclegan.model import CycleGAN
from mmgen.progress import Progress
from mmgen.recipes import get
from mmgen.training.gradients import SideBySide
from mmgen.training.microbatches import Part

SMALL = CycleGANConfig(width=8, blocks=1, critic_width=8, batch=2, image_px=16)


@pytest.fixture(scope="module")
def few(styles: Path) -> Corpus:
    return load_corpus(styles, "train").take(range(60))


@pytest.fixture(scope="module")
def model(few: Corpus) -> CycleGAN:
    return CycleGAN.fit(SMALL, few, DataConfig(name="styles"), generator(0))


def test_no_training_drawing_has_its_counterpart_in_the_other_half(styles: Path) -> None:
    train, test = load_corpus(styles, "train"), load_corpus(styles, "test")
    halves = [
        {concept for concept, style in zip(train.concepts, train.values("style"), strict=True) if style in half}
        for half in source.HALVES
    ]

    assert not halves[0] & halves[1]
    assert min(map(len, halves)) > 400
    assert set(test.variants()) == {len(source.STYLES)}


def test_a_drawing_is_rendered_to_the_same_bytes_again(styles: Path) -> None:
    dataset = load(styles)
    built = {(split, sample.key): sample.parts for split in dataset.card.splits for sample in dataset.split(split)}

    again = list(itertools.islice(source.samples({name: fetch(name) for name in source.PACKAGES}), 120))

    assert all(built[split, sample.key] == sample.parts for split, sample in again)


def test_an_untrained_painter_copies(model: CycleGAN, few: Corpus) -> None:
    pictures = few.images(16)[:4]

    painted = model.generate({"image": pictures}, "image", 4, seed=0, options={})

    assert all(np.array_equal(a, b) for a, b in zip(pictures, painted, strict=True))


def test_ways_move_the_painters_and_critics_move_themselves(model: CycleGAN, few: Corpus) -> None:
    losses = model.objectives(model.batches(few, 0).at(0))
    learned = list(model.parameters())

    def moved(*names: str) -> list[torch.nn.Module]:
        with SideBySide(learned, 1) as gradients:
            gradients.take([Part(objectives={name: losses[name] for name in names})], 0, 0)
        parts = (model.painters, model.source_critic, model.target_critic)
        return [part for part in parts if any(value.grad is not None for value in part.parameters())]

    assert moved("there", "back") == [model.painters]
    assert moved("source_critic") == [model.source_critic]
    assert moved("target_critic") == [model.target_critic]


def test_a_saved_model_paints_both_ways_as_before_and_names_its_styles(
    model: CycleGAN, few: Corpus, tmp_path: Path
) -> None:
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator(1, name))
    models.save(model, tmp_path)
    loaded, picture = Generator.load(tmp_path), few.images(16)[0]

    there, back = (loaded.generate(image=picture, to="image", style=style)[0] for style in ("openmoji", "twemoji"))

    assert np.array_equal(there, Generator(model).generate(image=picture, to="image")[0])
    assert not np.array_equal(there, back)
    with pytest.raises(ConfigError, match="unknown style 'openmojo'; did you mean 'openmoji'"):
        loaded.generate(image=picture, to="image", style="openmojo")


def test_a_style_that_the_data_lacks_is_said_in_one_line(few: Corpus) -> None:
    model = CycleGAN(CycleGANConfig(target="crayon"))

    with pytest.raises(DataError, match="unknown style 'crayon'"):
        model.batches(few, 0)


class Fixed(Model):
    """Answers with what it is told to, by style."""

    config = SMALL

    def __init__(self, answers: dict[str, list[Picture]] | None) -> None:
        super().__init__()
        self.answers = answers

    def generate(self, given: Any, to: str, n: int, *, seed: int, options: Any) -> list[Picture]:
        return list(given["image"]) if self.answers is None else self.answers[options["style"]]


def test_the_true_counterpart_scores_full_marks_and_a_copy_what_a_copy_scores(styles: Path, tmp_path: Path) -> None:
    settings = ["judge.steps=30", "judge.batch=32", "judge.probes=50", "evaluation.resamples=20", "training.threads=1"]
    recipe = get("cyclegan", settings)
    views_judge.train_judge(styles, recipe, tmp_path, tmp_path / "scratch", Progress())
    test = load_corpus(styles, "test")
    true = {style: transfer._side(test, style).images(16) for style in (SMALL.source, SMALL.target)}

    perfect, copy = (
        transfer.evaluate(Subject(Fixed(answers), tmp_path, styles, recipe, Progress())) for answers in (true, None)
    )

    assert np.mean(perfect.scores["image.r1"]) > 0.97  # two drawings can be alike
    assert np.mean(perfect.scores["image.l1"]) == 0
    assert perfect.metrics["image.l1_ratio"]["value"] == perfect.metrics["image.distance_ratio"]["value"] == 0
    assert copy.scores["image.l1"] == copy.scores["image.l1_copy"]
    assert copy.metrics["image.l1_ratio"]["value"] == copy.metrics["image.distance_ratio"]["value"] == 1
    assert np.mean(perfect.scores["image.r1_gain"]) > 0.3
    assert not any(copy.scores["image.r1_gain"])
    assert set(transfer.HEADLINE) <= perfect.scores.keys() | perfect.metrics.keys()
    assert np.mean(copy.scores["cycle.l1"]) == 0
    assert perfect.metrics["image.kid"]["value"] < copy.metrics["image.kid"]["value"]


def test_the_difference_in_pixels_of_other_concepts_leaves_out_the_own_one() -> None:
    white, grey, black = (np.full((16, 16, 3), value, dtype=np.uint8) for value in (255, 128, 0))

    right, wrong = (transfer._l1_of_others([picture] * 9, [white] * 9) for picture in (white, black))
    mixed = transfer._l1_of_others([grey] + [white] * 8, [white] * 9)

    assert right == [0.0] * 9
    assert wrong == [1.0] * 9
    assert mixed[0] == 0
    assert min(mixed[1:]) > 0


def test_a_picture_with_light_and_dark_exchanged_correlates_negatively(styles: Path) -> None:
    drawing = load_corpus(styles, "test").images(16)[0]

    assert transfer._correlation(drawing, 255 - drawing) < -0.99
    assert transfer._correlation(drawing, drawing) > 0.99
