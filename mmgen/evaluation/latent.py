"""Task `latent`: a model with latent numbers and a likelihood, such as a VAE.

Held-out pictures are made binary once, by a fixed seed. For each: what is lost in rebuilding it, the ELBO, and the
likelihood by importance weighting, all in nats (lower is better where the sign is turned). Pictures drawn from the
prior are judged as in task `samples`. Traversals show what single latent numbers mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.order import generator
from mmgen.evaluation.class_judge import load_class_judge
from mmgen.evaluation.samples import class_grid, judged, neighbours
from mmgen.evaluation.task import Findings, Section, Subject
from mmgen.examples import Example, sheet, spread
from mmgen.modalities.image import Picture, beside
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
SHOWN, STEPS, DIRECTIONS = 24, 9, 8


def evaluate(subject: Subject) -> Findings:
    """Measure likelihoods, draw from the prior, look into the latent space."""
    model: VAE = subject.model  # type: ignore[assignment]
    judge = load_class_judge(subject.judge)
    train, test = load_corpus(subject.dataset, "train"), load_corpus(subject.dataset, "test")
    n, side = subject.recipe.evaluation.samples, model.config.image_px
    subject.progress.start("evaluate", 3, "steps")
    scores, by_direction_Z = _nats(model, test, subject.recipe.evaluation.seed)
    subject.progress.update(1)
    words = [judge.classes[place % len(judge.classes)] for place in range(n)]
    given = {"text": words} if model.classes else {}
    made = model.generate(given, "image", n, seed=subject.recipe.evaluation.seed, options={})
    more, metrics = judged(subject, judge, made, words if model.classes else None, train, test)
    subject.progress.update(2)
    sections = [class_grid(judge, made, words)] if model.classes else [_rebuilt(model, test)]
    sections += [_traversals(model, by_direction_Z), _interpolations(model, test.images(side), test.concepts)]
    sections.append(neighbours(judge, made, train))
    subject.progress.update(3)
    subject.progress.done()
    scores |= more
    metrics |= subject.judge_accuracy()
    headline = {name: what for name, what in HEADLINE.items() if name in scores or name in metrics}
    return Findings(
        headline, sections, scores, metrics, {"test": test.keys, "made": [str(place) for place in range(n)]}
    )


@torch.no_grad()
def _nats(model: VAE, test: Corpus, seed: int) -> tuple[dict[str, list[float]], Tensor]:
    """Scores of each held-out picture, and the nats (Z,) that each latent number carries on average."""
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
    by_direction_Z = torch.stack(
        [kl_nats(mean_NZ[:, z : z + 1], log_NZ[:, z : z + 1]).mean() for z in range(mean_NZ.shape[1])]
    )
    return {name: values.tolist() for name, values in scores.items()}, by_direction_Z


def _rebuilt(model: VAE, test: Corpus) -> Section:
    real = [test.images(model.config.image_px)[row] for row in spread(len(test), SHOWN)]
    pairs = zip(real, model.reconstruct(real), strict=True)
    tiles = [Example("", {"real": picture, "rebuilt": again}) for picture, again in pairs]
    return Section(
        "rebuilt", "Held-out pictures rebuilt", "Left real, right through the latent numbers and back.", tiles
    )


def _traversals(model: VAE, by_direction_Z: Tensor) -> Section:
    """One row for each of the directions that carry most: from -3 to 3 with all else at 0."""
    tiles = []
    for direction in by_direction_Z.argsort(descending=True)[:DIRECTIONS].tolist():
        z_SZ = torch.zeros(STEPS, model.config.latent)
        z_SZ[:, direction] = torch.linspace(-3, 3, STEPS)
        words = [model.classes[len(model.classes) // 2]] * STEPS if model.classes else [""] * STEPS
        row = beside(model.draw(z_SZ, model.one_hot(words)))
        tiles.append(Example(f"number {direction}: {by_direction_Z[direction]:.1f} nats", {"row": row}))
    about = "Each row moves one latent number from -3 to 3; those that carry most nats first."
    return Section("traversals", "What single latent numbers mean", about, sheet=_stacked(tiles))


def _interpolations(model: VAE, real: list[Picture], words: list[str]) -> Section:
    """Straight lines in the latent space between two held-out pictures."""
    tiles = []
    for first, second in zip(spread(len(real), DIRECTIONS), spread(len(real), DIRECTIONS)[::-1], strict=True):
        class_2K = model.one_hot([words[first], words[second]])
        ends_2Z = model.encode(model.pixels([real[first], real[second]]), class_2K)[0]
        share_S1 = torch.linspace(0, 1, STEPS)[:, None]
        class_SK = class_2K[:1] + share_S1 * (class_2K[1:] - class_2K[:1])
        row = model.draw(ends_2Z[:1] + share_S1 * (ends_2Z[1:] - ends_2Z[:1]), class_SK)
        tiles.append(Example("", {"row": beside([real[first], *row, real[second]])}))
    about = (
        "Outermost two real pictures, between them pictures drawn on the straight line between their latent numbers."
    )
    return Section("interpolations", "Between two pictures", about, sheet=_stacked(tiles))


def _stacked(tiles: list[Example]) -> Picture:
    return sheet(tiles, columns=1)
