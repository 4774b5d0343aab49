"""Task `latent`: a model with latent numbers and a likelihood, such as a VAE.

Held-out pictures are made binary once, by a fixed seed. For each: what is lost in rebuilding it, the ELBO, and the
likelihood by importance weighting, all in nats (lower is better where the sign is turned). Pictures drawn from the
prior are judged as in task `samples`. Traversals show what single latent numbers mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.order import generator
from mmgen.evaluation.judges.class_judge import load_class_judge
from mmgen.evaluation.tasks.samples import by_heart, class_grid, judged, plain_grid
from mmgen.evaluation.tasks.task import Findings, Section, Subject
from mmgen.examples import Example, spread
from mmgen.inspection import failures
from mmgen.inspection.latent import interpolations, traversals
from mmgen.models.vae.model import bernoulli_nats, kl_nats

if TYPE_CHECKING:
    from mmgen.models.vae.model import VAE

HEADLINE = {
    "nll.nats": "nats a held-out picture, importance weighted",
    "reconstruction.nats": "nats lost in rebuilding",
    "image.kid": "kernel distance of drawn to real pictures",
    "image.asked": "asked classes recognised",
    "elbo.nats": "negative ELBO, nats",
    "reconstruction.mse": "squared error of rebuilding",
    "kl.nats": "nats that the latent numbers carry",
    "image.fid": "Frechet distance of drawn to real pictures",
    "classes.entropy": "entropy of recognised classes, nats",
    "memory.nearer_train": "made pictures nearer to training than to test pictures",
    "judge.accuracy": "real pictures that the judge names right",
}
WEIGHTED, IMPORTANCE = 300, 500
"""Pictures whose likelihood is estimated, and draws for each."""
SHOWN, DIRECTIONS = 24, 8


def evaluate(subject: Subject) -> Findings:
    """Measure likelihoods, draw from the prior, look into the latent space."""
    model: VAE = subject.model  # type: ignore[assignment]
    judge = load_class_judge(subject.judge)
    train, test = load_corpus(subject.dataset, "train"), load_corpus(subject.dataset, "test")
    n = subject.recipe.evaluation.samples
    subject.progress.start("evaluate", 3, "steps")
    scores = _nats(model, test, subject.recipe.evaluation.seed)
    subject.progress.update(1)
    words = [judge.classes[place % len(judge.classes)] for place in range(n)]
    given = {"text": words} if model.classes else {}
    made = model.generate(given, "image", n, seed=subject.recipe.evaluation.seed, options={})
    more, metrics = judged(subject, judge, made, words if model.classes else None, train, test)
    subject.progress.update(2)
    sections = [class_grid(judge, made, words)] if model.classes else [_rebuilt(model, test), plain_grid(judge, made)]
    sections += [traversals(model, model.latent_nats(test)), _interpolations(model, test)]
    sections += [_failures(model, test, scores["reconstruction.nats"]), by_heart(judge, made, train)]
    subject.progress.update(3)
    subject.progress.done()
    scores |= more
    metrics |= subject.judge_accuracy()
    headline = {name: what for name, what in HEADLINE.items() if name in scores or name in metrics}
    prompts = {"test": test.keys, "made": [str(place) for place in range(n)]}
    groups = {name: test.groups for name, values in scores.items() if len(values) == len(test) and name not in more}
    return Findings(headline, sections, scores, metrics, prompts, groups)


@torch.no_grad()
def _nats(model: VAE, test: Corpus, seed: int) -> dict[str, list[float]]:
    """Scores of each held-out picture."""
    grey_NP, class_NK = model.pixels(test.images(model.config.image_px)), model.one_hot(test.concepts)
    x_NP = torch.bernoulli(grey_NP, generator=generator("evaluation", "binary"))
    mean_NZ, log_NZ = model.encode(x_NP, class_NK)
    z_NZ = mean_NZ + log_NZ.exp() * torch.randn(mean_NZ.shape, generator=generator(seed, "elbo"))
    lost_N = bernoulli_nats(model.decode(z_NZ, class_NK), x_NP)
    kl_N = kl_nats(mean_NZ, log_NZ)
    again_NP = model.decode(mean_NZ, class_NK).sigmoid()
    few = slice(0, WEIGHTED)
    nll_N = -model.log_likelihood(x_NP[few], class_NK[few], IMPORTANCE, generator(seed, "weights"))
    scores = {
        "nll.nats": nll_N,
        "elbo.nats": lost_N + kl_N,
        "kl.nats": kl_N,
        "reconstruction.nats": lost_N,
        "reconstruction.mse": (again_NP - grey_NP).square().mean(1),
    }
    return {name: values.tolist() for name, values in scores.items()}


def _rebuilt(model: VAE, test: Corpus) -> Section:
    real = [test.images(model.config.image_px)[row] for row in spread(len(test), SHOWN)]
    pairs = zip(real, model.reconstruct(real), strict=True)
    tiles = [Example("", {"real": picture, "rebuilt": again}) for picture, again in pairs]
    return Section(
        "rebuilt", "Held-out pictures rebuilt", "Left real, right through the latent numbers and back.", tiles
    )


def _failures(model: VAE, test: Corpus, lost: list[float]) -> Section:
    """The held-out pictures that lose most, in each group."""
    real = test.images(model.config.image_px)
    with torch.no_grad():
        class_NK = model.one_hot(test.concepts)
        rebuilt = model.draw(model.encode(model.pixels(real), class_NK)[0], class_NK)
    tiles = [
        Example(concept, {"real": picture, "rebuilt": again}, [(f"{nats:.0f} nats lost", None)])
        for concept, picture, again, nats in zip(test.concepts, real, rebuilt, lost, strict=True)
    ]
    return failures.gallery(tiles, lost, test.groups, "nats lost in rebuilding")


def _interpolations(model: VAE, test: Corpus) -> Section:
    """Between held-out pictures from all over the set."""
    real, words = test.images(model.config.image_px), test.concepts
    rows = spread(len(real), DIRECTIONS)
    pairs: list[dict[str, list[Any]]] = [
        {"image": [real[a], real[b]], **({"text": [words[a], words[b]]} if model.classes else {})}
        for a, b in zip(rows, rows[::-1], strict=True)
    ]
    return interpolations(model, pairs, 0)
