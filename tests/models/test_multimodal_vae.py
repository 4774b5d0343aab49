"""Fusion: experts are joined as the papers say, the likelihood is one, every direction gives what it names."""

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
from mmgen.data.sources import spoken_digits as source
from mmgen.data.sources.packages import fetch
from mmgen.errors import ConfigError, DataError
from mmgen.evaluation.judges import concept_judge
from mmgen.evaluation.tasks import coherence
from mmgen.evaluation.tasks.task import Subject
from mmgen.generate import Generator
from mmgen.models.multimodal_vae import joins
from mmgen.models.multimodal_vae.config import JOINS, FusionConfig
from mmgen.models.multimodal_vae.joins import Normal
from mmgen.models.multimodal_vae.model import NAMES, Fusion
from mmgen.progress import Progress
from mmgen.recipes import get
from mmgen.training.config import TrainingConfig
from mmgen.training.loop import learn


@pytest.fixture(scope="module")
def corpus(spoken_digits: Path) -> Corpus:
    whole = load_corpus(spoken_digits, "train")
    return whole.take(range(0, len(whole), 12))


def fresh(corpus: Corpus, join: str = "mopoe", **sizes: int) -> Fusion:
    config = FusionConfig(join=join, **{"width": 64, "latent": 8, "batch": 32, **sizes})
    return Fusion.fit(config, corpus, DataConfig(name="spoken_digits"), generator(0))


@pytest.fixture(scope="module")
def trained(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Fusion:
    """A small one after 250 steps."""
    model = fresh(corpus)
    training = TrainingConfig(steps=250, lr=3e-3, warmup=5, threads=1, clip=200.0, ema=0.9, sample_every=250)
    learn(
        model, model.batches(corpus, 0), training, 0, tmp_path_factory.mktemp("fusion"), Progress(), lambda step: None
    )
    return model.eval()


def test_words_are_said_again_to_the_same_bytes(spoken_digits: Path) -> None:
    dataset = load(spoken_digits)
    built = {sample.key: sample.parts for split in dataset.card.splits for sample in dataset.split(split)}

    again = list(itertools.islice(source.samples({name: fetch(name) for name in source.PACKAGES}), 40))

    assert all(built[sample.key] == sample.parts for _, sample in again)
    assert len({sample.parts["wav"] for _, sample in again}) > 35  # voices, speeds and pitches differ


def test_the_product_of_two_normals_is_the_normalised_product_of_their_densities() -> None:
    one, two = (Normal(torch.tensor([[mean]]), torch.tensor([[log]])) for mean, log in ((0.5, -0.3), (-1.0, 0.4)))
    z = torch.linspace(-8, 8, 20001)[:, None]
    density = (one.log_density(z) + two.log_density(z)).exp()
    mean = (density * z[:, 0]).sum() / density.sum()
    variance = (density * (z[:, 0] - mean) ** 2).sum() / density.sum()

    joint = joins.product([one, two], with_prior=False)

    assert joint.mean.item() == pytest.approx(mean.item(), abs=1e-4)
    assert (2 * joint.log).exp().item() == pytest.approx(variance.item(), abs=1e-4)
    assert joins.product([one, two], with_prior=True).log.item() < joint.log.item()


def test_the_kl_of_normals_is_torchs() -> None:
    q, p = (
        Normal(torch.randn(4, 3, generator=generator(k)), torch.randn(4, 3, generator=generator(9, k))) for k in (1, 2)
    )
    normal = torch.distributions.Normal

    theirs = torch.distributions.kl_divergence(normal(q.mean, q.log.exp()), normal(p.mean, p.log.exp())).sum(1)

    torch.testing.assert_close(joins.kl_nats(q, p), theirs)


def test_each_join_learns_from_the_subsets_of_its_paper() -> None:
    assert {join: len(joins.subsets(join, 3)) for join in JOINS} == {"mvae": 4, "mmvae": 3, "mopoe": 7, "mvtcae": 1}
    assert joins.rebuilds("mvae", (1,), 3) == (1,)
    assert joins.rebuilds("mopoe", (1,), 3) == (0, 1, 2)


@pytest.mark.parametrize("join", JOINS)
def test_the_likelihood_is_that_of_the_integral(join: str, corpus: Corpus) -> None:
    model = fresh(corpus, join, latent=2, width=16)
    x = {name: values[:2] for name, values in model.values(corpus).items()}
    x["image"] = x["image"].round()
    grid = torch.linspace(-6, 6, 161)
    z = torch.cartesian_prod(grid, grid)
    prior = torch.distributions.Normal(0, 1).log_prob(z).sum(1)

    found = model.log_likelihood(x, 600, generator(1))

    for row in range(2):
        lost = sum(side.nats(side.decoder(z), x[name][row].expand(len(z), -1)) for name, side in model.sides.items())
        exact = (prior - lost).logsumexp(0) + 2 * np.log(12 / 160)
        assert found[row].item() == pytest.approx(exact.item(), abs=0.3)


def test_a_word_comes_back_from_its_letters_and_a_strange_one_is_refused(corpus: Corpus) -> None:
    side = fresh(corpus).text

    assert side.things(side.values(["three", "six"]) * 9) == ["three", "six"]
    with pytest.raises(DataError, match="'q'"):
        side.values(["q"])
    with pytest.raises(DataError, match="at most 5"):
        side.values(["threeeee"])


def test_a_sound_comes_back_from_its_numbers(corpus: Corpus) -> None:
    from mmgen.modalities import sound

    side, clip = fresh(corpus).sound, corpus.sounds()[3]

    again = side.spectrograms(side.values([clip]))[0]

    real = sound.log_mel(clip)[: len(again)]
    assert abs(len(again) - len(sound.log_mel(clip))) <= 12
    assert np.corrcoef(again[: len(real)].ravel(), real.ravel())[0, 1] > 0.9


def test_a_trained_one_answers_better_than_by_chance_and_a_fresh_one_does_not(
    trained: Fusion, spoken_digits: Path
) -> None:
    test = load_corpus(spoken_digits, "test").take(range(0, 750, 15))

    def right(model: Fusion) -> float:
        said = model.generate({"sound": test.sounds()}, "text", len(test), seed=0, options={"temperature": 0.0})
        return float(np.mean([word == wanted for word, wanted in zip(said, test.concepts, strict=True)]))

    assert right(trained) > 0.5
    assert right(fresh(test)) < 0.2


def test_what_is_drawn_depends_on_place_and_seed_alone(trained: Fusion) -> None:
    ask = Generator(trained)

    two = ask.generate(text="six", to="image", n=2, seed=3)

    assert ask.generate(text="six", to="image", n=1, seed=3)[0].tobytes() == two[0].tobytes()
    assert two[0].tobytes() != two[1].tobytes()
    thing = ask.generate(to="all", n=1, seed=3)[0]
    assert set(thing) == set(NAMES)


def test_every_direction_is_known_and_others_are_refused(trained: Fusion) -> None:
    assert len(trained.pairs()) == 1 + 7 * 3
    with pytest.raises(ConfigError, match="video"):
        Generator(trained).generate(text="six", to="video")


def test_a_saved_one_is_the_same(trained: Fusion, tmp_path: Path) -> None:
    models.save(trained, tmp_path)

    again = models.load(tmp_path)

    pictures = [model.generate({"text": ["two"]}, "image", 1, seed=0, options={})[0] for model in (trained, again)]
    assert pictures[0].tobytes() == pictures[1].tobytes()


@pytest.mark.slow
def test_the_task_scores_each_direction(trained: Fusion, spoken_digits: Path, tmp_path: Path) -> None:
    recipe = get(
        "fusion", ["size=small", "judge.steps=120", "judge.width=16", "evaluation.samples=40", "training.threads=1"]
    )
    concept_judge.train_judge(spoken_digits, recipe, tmp_path, tmp_path / "scratch", Progress())

    found = coherence.evaluate(Subject(trained, tmp_path, spoken_digits, recipe, Progress()))

    assert set(coherence.HEADLINE) <= set(found.scores) | set(found.metrics)
    assert found.metrics["judge.accuracy"]["value"] > 0.5
    assert np.mean(found.scores["cross.all"]) == pytest.approx(
        np.mean([np.mean(found.scores[f"cross.{a}_to_{b}"]) for a in NAMES for b in NAMES if a != b])
    )
    assert [section.name for section in found.sections][:4] == ["joint", "from_text", "from_image", "from_sound"]


def test_an_unknown_join_is_refused() -> None:
    with pytest.raises(ConfigError, match="mopoe"):
        FusionConfig(join="mopeo")
