"""GANs: what each player learns, what can be asked for, and what the samples task says of makers that we know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmgen import models
from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.order import generator
from mmgen.errors import ConfigError, DataError
from mmgen.evaluation.judges import class_judge
from mmgen.evaluation.judges.class_judge import load_class_judge, train_judge
from mmgen.evaluation.tasks import samples
from mmgen.evaluation.tasks.task import Subject
from mmgen.generate import Generator
from mmgen.modalities.image import Picture
from mmgen.models.base import Model, Player
from mmgen.models.gan.config import GANConfig
from mmgen.models.gan.model import GAN
from mmgen.progress import Progress
from mmgen.recipes import get
from mmgen.training.config import TrainingConfig
from mmgen.training.gradients import SideBySide
from mmgen.training.loop import learn
from mmgen.training.microbatches import Part

CONFIGS = {
    "bce": GANConfig(batch=8),
    "wasserstein": GANConfig(batch=8, loss="wasserstein", penalty=10.0),
    "conditional": GANConfig(batch=8, net="conv", width=8, classes=True),
}


@pytest.fixture(scope="module")
def corpus(digits: Path) -> Corpus:
    whole = load_corpus(digits, "train")
    return whole.take(range(0, len(whole), 50))


def fitted(name: str, corpus: Corpus) -> GAN:
    return GAN.fit(CONFIGS[name], corpus, DataConfig(name="digits"), generator(0, "fit"))


@pytest.mark.parametrize("name", CONFIGS)
def test_each_loss_moves_its_own_player_only(name: str, corpus: Corpus) -> None:
    model = fitted(name, corpus)
    losses = model.objectives(model.batches(corpus, 0).at(0))
    learned = list(model.parameters())

    with SideBySide(learned, 1) as gradients:
        gradients.take([Part(objectives={"critic": losses["critic"]})], 0, 0)

    assert all(isinstance(loss, Player) for loss in losses.values())
    assert all(parameter.grad is None for parameter in model.generator.parameters())
    assert all(parameter.grad is not None for parameter in model.critic.parameters())


def test_a_critic_alone_learns_to_tell_real_from_made(corpus: Corpus, tmp_path: Path) -> None:
    model = fitted("bce", corpus)
    batches = model.batches(corpus, 0)
    before = [parameter.detach().clone() for parameter in model.generator.parameters()]

    class CriticOnly(GAN):
        def objectives(self, batch: Any) -> Any:
            return {"critic": super().objectives(batch)["critic"]}

    alone = CriticOnly(model.config, ())
    alone.load_state_dict(model.state_dict())
    config = TrainingConfig(steps=40, lr=1e-3, warmup=1, weight_decay=0.0, threads=1, ema=0.0, sample_every=40)
    learn(alone, batches, config, 0, tmp_path, Progress(), lambda step: None)

    loss = alone.objectives(batches.at(50))["critic"](generator(1))
    assert loss.item() < 0.7  # 2 log 2 = 1.39 for one that cannot tell
    assert all(torch.equal(a, b) for a, b in zip(before, alone.generator.parameters(), strict=True))


def test_the_generator_waits_for_the_critic_where_it_is_told_to(corpus: Corpus) -> None:
    model = GAN(GANConfig(batch=8, critic_steps=3), ())
    batches = model.batches(corpus, 0)

    turns = ["generator" in model.objectives(batches.at(step)) for step in range(6)]

    assert turns == [True, False, False, True, False, False]


def test_pictures_are_shifted_and_nothing_else(corpus: Corpus) -> None:
    model = fitted("bce", corpus)
    x = model.batches(corpus, 0).at(0).real_BCSS

    moved = model._shifted(x, generator(2))

    for before, after in zip(x, moved, strict=True):
        shifts = [torch.roll(before, (down, across), (1, 2)) for down in range(-2, 3) for across in range(-2, 3)]
        assert min((after - shifted)[:, 2:-2, 2:-2].abs().max() for shifted in shifts) == 0


def test_a_saved_model_makes_the_same_pictures(corpus: Corpus, tmp_path: Path) -> None:
    model = fitted("conditional", corpus)
    models.save(model, tmp_path)

    before, after = (
        Generator(made).generate(text="seven", to="image", n=2, seed=5) for made in (model, models.load(tmp_path))
    )

    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert not np.array_equal(before[0], before[1])


def test_a_word_that_is_no_class_is_refused_with_the_nearest(corpus: Corpus) -> None:
    with pytest.raises(DataError, match="unknown class 'sevn'; did you mean 'seven'"):
        Generator(fitted("conditional", corpus)).generate(text="sevn", to="image")


def test_settings_that_cannot_work_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"unknown model\.loss 'bcee'; did you mean 'bce'"):
        GANConfig(loss="bcee")
    with pytest.raises(ConfigError, match=r"model\.image_px must be a multiple of 4"):
        GANConfig(image_px=30)


@pytest.fixture(scope="module")
def judge(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    settings = ["judge.steps=60", "judge.batch=32", "judge.width=8", "judge.probes=200", "training.threads=1"]
    train_judge(digits, get("gan", settings), folder, tmp_path_factory.mktemp("scratch"), Progress())
    return folder


def test_the_class_judge_names_real_digits_that_it_never_saw(judge: Path, digits: Path) -> None:
    named = load_class_judge(judge)
    test = load_corpus(digits, "test").take(range(100))

    said = named.names(test.images(28))

    right = np.mean([a == b for a, b in zip(said, class_judge.classes_of(test), strict=True)])
    assert right > 0.5  # by chance: 0.1
    assert np.allclose(named.probabilities(test.images(28)).sum(1), 1)


class Maker(Model):
    """Makes the pictures that it is given."""

    def __init__(self, pictures: list[Picture], asks: bool) -> None:
        super().__init__()
        self.made, self.asks = pictures, asks

    def pairs(self) -> tuple[tuple[str, str], ...]:
        return (("text" if self.asks else "nothing", "image"),)

    def generate(self, given: Any, to: str, n: int, *, seed: int, options: Any) -> list[Picture]:
        return [self.made[place % len(self.made)] for place in range(n)]


def test_one_picture_again_and_again_is_a_collapse_and_training_pictures_are_memory(judge: Path, digits: Path) -> None:
    recipe = get("gan", ["evaluation.samples=100", "evaluation.resamples=50"])
    train, test = load_corpus(digits, "train"), load_corpus(digits, "test")

    def found(pictures: list[Picture], asks: bool = False) -> Any:
        return samples.evaluate(Subject(Maker(pictures, asks), judge, digits, recipe, Progress()))

    real = found(test.take(range(0, len(test), 7)).images(28))
    collapsed = found(test.images(28)[:1])
    copied = found(train.take(subject_rows(recipe, len(train), len(test))).images(28))
    asked = found(test.images(28)[:1], asks=True)

    assert real.metrics["classes.covered"]["value"] >= 8
    assert collapsed.metrics["classes.covered"]["value"] == 1
    assert collapsed.metrics["classes.entropy"]["value"] == 0
    assert collapsed.metrics["image.kid"]["value"] > real.metrics["image.kid"]["value"]
    assert np.mean(copied.scores["memory.nearer_train"]) == 1
    assert np.mean(real.scores["memory.nearer_train"]) == 0
    assert np.mean(asked.scores["image.asked"]) == pytest.approx(0.1)


def subject_rows(recipe: Any, train: int, test: int) -> list[int]:
    """The training pictures that the task compares with."""
    rng = np.random.default_rng(recipe.evaluation.seed)
    return rng.permutation(train)[:test][:100].tolist()
