"""One answer from a picture, a text, or both: numbers come round, what is missing is left out, both beat one."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from mmgen import models
from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.dataset import load
from mmgen.data.order import generator
from mmgen.data.sources import clocks as source
from mmgen.data.sources.build import build
from mmgen.errors import ConfigError, DataError
from mmgen.evaluation.tasks import answers
from mmgen.evaluation.tasks.task import Subject
from mmgen.generate import Generator
from mmgen.models.classifier.config import FusedConfig
from mmgen.models.classifier.model import Fused
from mmgen.progress import Progress
from mmgen.recipes import get
from mmgen.training.config import TrainingConfig
from mmgen.training.loop import learn


@pytest.fixture(scope="module")
def clocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("clocks", tmp_path_factory.mktemp("clocks"))


@pytest.fixture(scope="module")
def corpus(clocks: Path) -> Corpus:
    return load_corpus(clocks, "train").take(range(0, 4000, 4))


@pytest.fixture(scope="module")
def trained(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Fused:
    """A small one after 250 steps."""
    config = FusedConfig(target="minutes", period=1440.0, unit="minutes", width=12, features=48, rows=97, batch=32)
    model = Fused.fit(config, corpus, DataConfig(name="clocks"), generator(0))
    training = TrainingConfig(steps=250, lr=3e-3, warmup=5, threads=1, ema=0.9, sample_every=250)
    learn(model, model.batches(corpus, 0), training, 0, tmp_path_factory.mktemp("fused"), Progress(), lambda step: None)
    return model.eval()


def test_clocks_are_drawn_to_the_same_bytes_and_no_time_is_in_both_splits(clocks: Path) -> None:
    dataset = load(clocks)
    built = {sample.key: sample.parts for split in source.SPLITS for sample in dataset.split(split)}
    times = {split: {sample.facts()["minutes"] for sample in dataset.split(split)} for split in source.SPLITS}

    assert all(built[sample.key] == sample.parts for _, sample in itertools.islice(source.samples({}), 25))
    assert not times["train"] & times["test"]


def test_the_hands_of_a_clock_stand_where_the_time_says() -> None:
    """At a quarter past twelve the dark pixels lie above and to the right of the middle, at a quarter to six below."""

    def balance(minutes: int) -> tuple[float, float]:
        grey = np.frombuffer(source.face(minutes, np.random.default_rng(3)), np.uint8).reshape(source.SIZE, -1)
        dark = (grey < 100).astype(float)
        dark[:6] = dark[-6:] = dark[:, :6] = dark[:, -6:] = 0
        places = np.arange(source.SIZE) - (source.SIZE - 1) / 2
        return float(dark.sum(0) @ places), float(dark.sum(1) @ places)

    assert balance(15)[0] > 0
    assert balance(45)[0] < 0
    assert balance(6 * 60)[1] > balance(0)[1]


@pytest.mark.parametrize(("a", "b", "apart"), [(10, 1430, 20), (0, 720, 720), (5, 5, 0), (1439, 0, 1)])
def test_numbers_that_come_round_are_near_across_midnight(a: float, b: float, apart: float) -> None:
    assert answers.round_distance(np.array([a], float), np.array([b], float), 1440.0)[0] == pytest.approx(apart)


def test_a_point_on_the_circle_is_its_number(trained: Fused) -> None:
    angles = torch.tensor([0.0, torch.pi / 2, -torch.pi / 2])

    assert trained.numbers(torch.stack([angles.cos(), angles.sin()], 1)) == pytest.approx([0, 360, 1080], abs=1e-2)


def test_both_tell_the_time_better_than_either(trained: Fused, clocks: Path, tmp_path: Path) -> None:
    recipe = get("regress", ["evaluation.samples=100"])

    found = answers.evaluate(Subject(trained, tmp_path, clocks, recipe, Progress()))

    mean = {name: float(np.mean(values)) for name, values in found.scores.items()}
    assert set(mean) == set(answers.NUMBERS)
    assert mean["answer.error"] < 0.8 * mean["answer.error_text"] < mean["answer.error_image"]
    assert mean["answer.gain"] == pytest.approx(mean["answer.error_text"] - mean["answer.error"])
    assert mean["answer.error_constant"] == pytest.approx(360, abs=60)


def test_what_is_not_given_does_not_count(trained: Fused, corpus: Corpus) -> None:
    picture = corpus.images(40)[0]
    ask = Generator(trained)

    assert ask.generate(image=picture, to="text")[0].endswith(" minutes")
    assert ask.generate(text="in the morning", to="text") != ask.generate(text="in the evening", to="text")
    with pytest.raises(DataError, match="empty"):
        trained._grams([""])
    with pytest.raises(ConfigError, match="image"):
        ask.generate(text="in the morning", to="image")


def test_groups_of_new_concepts_are_asked_three_ways(emoji: Path, tmp_path: Path) -> None:
    train = load_corpus(emoji, "train").take(range(0, 3000, 12))
    recipe = get("classify", ["evaluation.samples=60"])
    model = Fused.fit(FusedConfig(width=8, features=32), train, recipe.data, generator(0))
    training = TrainingConfig(steps=120, lr=3e-3, warmup=5, threads=1, ema=0.9, sample_every=120)
    learn(model, model.batches(train, 0), training, 0, tmp_path, Progress(), lambda step: None)

    found = answers.evaluate(Subject(model.eval(), tmp_path, emoji, recipe, Progress()))

    assert set(found.scores) == set(answers.CLASSES)
    assert np.mean(found.scores["answer.right"]) > 0.4
    keys = set(found.prompts["concepts and judge"])
    assert not keys & set(train.keys)
    assert [section.name for section in found.sections] == ["confused", "answered"]


def test_a_saved_one_answers_the_same(trained: Fused, corpus: Corpus, tmp_path: Path) -> None:
    models.save(trained, tmp_path)
    given = {"image": corpus.images(40)[:3]}

    torch.testing.assert_close(models.load(tmp_path).answers(given, 3), trained.answers(given, 3))
