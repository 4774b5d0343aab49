"""VAEs: the bound is a bound, the likelihood is one, and what is told of the latent space is true."""

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
from mmgen.errors import DataError
from mmgen.evaluation.judges.class_judge import train_judge
from mmgen.evaluation.tasks import latent
from mmgen.evaluation.tasks.task import Subject
from mmgen.generate import Generator
from mmgen.models.vae.config import VAEConfig
from mmgen.models.vae.model import VAE, bernoulli_nats, kl_nats
from mmgen.progress import Progress
from mmgen.recipes import get
from mmgen.training.config import TrainingConfig
from mmgen.training.loop import learn


@pytest.fixture(scope="module")
def corpus(digits: Path) -> Corpus:
    whole = load_corpus(digits, "train")
    return whole.take(range(0, len(whole), 20))


@pytest.fixture(scope="module")
def trained(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> VAE:
    """A small one after 150 steps."""
    config = VAEConfig(width=64, latent=4, batch=32)
    model = VAE.fit(config, corpus, DataConfig(name="digits"), generator(0))
    training = TrainingConfig(steps=150, lr=3e-3, warmup=5, threads=1, clip=100.0, ema=0.9, sample_every=150)
    learn(model, model.batches(corpus, 0), training, 0, tmp_path_factory.mktemp("vae"), Progress(), lambda step: None)
    return model.eval()


def test_the_kl_of_normals_is_torchs() -> None:
    mean, log = torch.randn(5, 3, generator=generator(1)), torch.randn(5, 3, generator=generator(2))
    normal = torch.distributions.Normal

    theirs = torch.distributions.kl_divergence(normal(mean, log.exp()), normal(torch.zeros(3), torch.ones(3))).sum(1)

    torch.testing.assert_close(kl_nats(mean, log), theirs)


def test_the_likelihood_of_one_latent_number_is_that_of_the_integral(corpus: Corpus) -> None:
    model = VAE.fit(VAEConfig(width=16, latent=2, batch=8, image_px=4), corpus, DataConfig(), generator(0))
    x = torch.bernoulli(model.pixels(corpus.images(28))[:3], generator=generator(1))
    none = torch.zeros(3, 0)
    grid = torch.linspace(-6, 6, 241)
    z = torch.cartesian_prod(grid, grid)
    prior = torch.distributions.Normal(0, 1).log_prob(z).sum(1)

    found = model.log_likelihood(x, none, 4000, generator(2))

    for row in range(3):
        each = prior - bernoulli_nats(model.decode(z, torch.zeros(len(z), 0)), x[row].expand(len(z), -1))
        exact = each.logsumexp(0) + 2 * np.log(12 / 240)
        assert found[row].item() == pytest.approx(exact.item(), abs=0.02)


def test_training_lowers_the_bound_and_the_likelihood_is_above_it(trained: VAE, digits: Path) -> None:
    test = load_corpus(digits, "test").take(range(0, 700, 20))
    x = torch.bernoulli(trained.pixels(test.images(28)), generator=generator(3))
    none = torch.zeros(len(x), 0)
    untrained = VAE.fit(trained.config, test, DataConfig(), generator(0))

    @torch.no_grad()
    def elbo(model: VAE) -> float:
        mean, log = model.encode(x, none)
        z = mean + log.exp() * torch.randn(mean.shape, generator=generator(4))
        return float(-(bernoulli_nats(model.decode(z, none), x) + kl_nats(mean, log)).mean())

    assert elbo(trained) > elbo(untrained) + 20
    assert trained.log_likelihood(x, none, 100, generator(5)).mean() > elbo(trained)


def test_the_two_halves_make_the_whole_loss(trained: VAE, corpus: Corpus) -> None:
    batch = trained.batches(corpus, 0).at(3)

    halves = trained.objectives(batch)

    assert list(halves) == ["first", "second"]
    total = sum(loss(generator(6)).item() for loss in halves.values())
    assert 50 < total < 300


def test_a_conditional_one_draws_the_class_and_refuses_other_words(corpus: Corpus, tmp_path: Path) -> None:
    model = VAE.fit(VAEConfig(width=16, classes=True), corpus, DataConfig(), generator(0))
    models.save(model, tmp_path)
    loaded = Generator.load(tmp_path)

    three, four = (loaded.generate(text=word, to="image", seed=1)[0] for word in ("three", "four"))

    assert not np.array_equal(three, four)
    assert np.array_equal(three, Generator(model).generate(text="three", to="image", seed=1)[0])
    with pytest.raises(DataError, match="unknown class 'thre'; did you mean 'three'"):
        loaded.generate(text="thre", to="image")


def test_the_task_measures_what_it_says(trained: VAE, digits: Path, tmp_path: Path, monkeypatch: Any) -> None:
    settings = ["judge.steps=20", "judge.batch=32", "judge.width=8", "judge.probes=50", "evaluation.samples=40"]
    recipe = get("vae", [*settings, "evaluation.resamples=20", "training.threads=1"])
    train_judge(digits, recipe, tmp_path, tmp_path / "scratch", Progress())
    monkeypatch.setattr(latent, "WEIGHTED", 20)
    monkeypatch.setattr(latent, "IMPORTANCE", 20)

    found = latent.evaluate(Subject(trained, tmp_path, digits, recipe, Progress()))

    scores = {name: np.array(values) for name, values in found.scores.items()}
    assert np.allclose(scores["elbo.nats"], scores["kl.nats"] + scores["reconstruction.nats"], atol=1e-3)
    assert scores["nll.nats"].mean() < scores["elbo.nats"][:20].mean()
    assert {section.name for section in found.sections} == {
        "rebuilt", "made", "traversals", "interpolations", "failures", "neighbours",
    }  # fmt: skip
    assert set(found.headline) <= scores.keys() | found.metrics.keys()
