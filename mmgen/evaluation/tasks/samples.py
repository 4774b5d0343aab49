"""Task `samples`: a model that makes pictures from nothing, or of an asked class.

Made pictures are held against real ones of the `test` split in the features of the class judge: kernel and Frechet
distance, precision and recall, and how evenly the recognised classes come (a GAN that has collapsed makes few). Where
a class can be asked for, the judge must recognise it. Learning by heart shows in `memory.nearer_train`: the share of
made pictures that lie nearer to one of n training pictures than to all of n test pictures (0.5 is none).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmgen.data.corpus import Corpus, load_corpus
from mmgen.evaluation.judges.class_judge import ClassJudge, load_class_judge
from mmgen.evaluation.metrics.bootstrap import mean_interval
from mmgen.evaluation.metrics.statistics import frechet_distance_interval, kernel_distance_interval, precision_recall
from mmgen.evaluation.tasks.task import Findings, Metric, Section, Subject
from mmgen.examples import Example, spread
from mmgen.inspection import failures
from mmgen.inspection.latent import Interpolates, interpolations
from mmgen.inspection.neighbours import neighbours
from mmgen.modalities.image import Picture
from mmgen.models.base import Model

HEADLINE = {
    "image.asked": "asked classes recognised",
    "image.kid": "kernel distance to real pictures",
    "classes.entropy": "entropy of recognised classes, nats",
    "image.fid": "Frechet distance to real pictures",
    "classes.covered": "classes that come at least once",
    "image.precision": "made pictures among real ones",
    "image.recall": "real pictures among made ones",
    "memory.nearer_train": "made pictures nearer to training than to test pictures",
    "judge.accuracy": "real pictures that the judge names right",
}
KERNEL_HALVES, FRECHET_HALVES = 50, 10
SHOWN = 40
ROWS = 8
"""Interpolations."""
PER_CLASS = 4


def evaluate(subject: Subject) -> Findings:
    """Make `evaluation.samples` pictures and judge them."""
    judge = load_class_judge(subject.judge)
    train, test = load_corpus(subject.dataset, "train"), load_corpus(subject.dataset, "test")
    n = subject.recipe.evaluation.samples
    asks = ("text", "image") in subject.model.pairs()
    words = [judge.classes[place % len(judge.classes)] for place in range(n)]
    subject.progress.start("evaluate", 3, "steps")
    given = {"text": words} if asks else {}
    made = subject.model.generate(given, "image", n, seed=subject.recipe.evaluation.seed, options={})
    subject.progress.update(1)
    scores, metrics = judged(subject, judge, made, words if asks else None, train, test)
    subject.progress.update(2)
    sections = [class_grid(judge, made, words) if asks else plain_grid(judge, made)]
    sections += [*inside(subject.model, judge, made, words if asks else None), by_heart(judge, made, train)]
    subject.progress.update(3)
    subject.progress.done()
    metrics |= subject.judge_accuracy()
    headline = {name: what for name, what in HEADLINE.items() if name in scores or name in metrics}
    groups = {"image.asked": words} if asks else {}
    return Findings(headline, sections, scores, metrics, {"made": [f"{place}" for place in range(n)]}, groups)


def judged(
    subject: Subject, judge: ClassJudge, made: list[Picture], words: Sequence[str] | None, train: Corpus, test: Corpus
) -> tuple[dict[str, list[float]], dict[str, Metric]]:
    """Scores per picture and metrics of the whole set of `made` pictures, which were asked for by `words`."""
    side = made[0].shape[0]
    drawn, real = judge.features(made), judge.features(test.images(side))
    # As many training pictures as test pictures, or the larger set would win by its size.
    rows = subject.rng().permutation(len(train))[: len(test)].tolist()
    known = judge.features(train.take(rows).images(side))
    scores = {"memory.nearer_train": (_nearest(drawn, known) < _nearest(drawn, real)).astype(float).tolist()}
    said = judge.names(made)
    if words is not None:
        scores["image.asked"] = [float(name == word) for name, word in zip(said, words, strict=True)]
    rng, n = subject.rng(), len(made)
    metrics: dict[str, Metric] = {}
    for name, (value, low, high) in {
        "image.kid": kernel_distance_interval(drawn, real, rng, KERNEL_HALVES),
        "image.fid": frechet_distance_interval(drawn, real, rng, FRECHET_HALVES),
    }.items():
        metrics[name] = {"value": value, "low": low, "high": high, "n": n}
    precision, recall = precision_recall(drawn, real)
    scores["image.precision"] = precision.tolist()
    metrics["image.recall"] = mean_interval(recall, rng, resamples=subject.recipe.evaluation.resamples)._asdict()
    return scores, metrics | _coverage(judge, said, rng)


def class_grid(judge: ClassJudge, made: list[Picture], words: list[str]) -> Section:
    """The first few pictures of every class, and what the judge takes them for."""
    count = min(PER_CLASS, len(made) // len(judge.classes))
    rows = [place * len(judge.classes) + kind for kind in range(len(judge.classes)) for place in range(count)]
    said = judge.names([made[row] for row in rows])
    tiles = [
        Example(words[row], {"made": made[row]}, [] if name == words[row] else [(f"taken for {name}", False)])
        for row, name in zip(rows, said, strict=True)
    ]
    return Section("asked", "Asked for by class", "Four of each class, not selected.", tiles)


def inside(model: Model, judge: ClassJudge, made: list[Picture], words: list[str] | None) -> list[Section]:
    """Failures by class where one was asked for, and what lies between two draws."""
    found = [] if words is None else [_failures(judge, made, words)]
    if isinstance(model, Interpolates):
        pairs = itertools.pairwise(judge.classes)
        given: list[dict[str, list[str]]] = [{}] * ROWS if words is None else [{"text": list(pair)} for pair in pairs]
        found.append(interpolations(model, given[:ROWS], 0))
    return found


def by_heart(judge: ClassJudge, made: list[Picture], train: Corpus) -> Section:
    """Made pictures beside the training pictures nearest to each."""
    step = max(1, 2 * len(made) // SHOWN) | 1  # odd: classes are asked in turn, and an even step would meet few of them
    few = made[::step][: SHOWN // 2]
    return neighbours(few, [""] * len(few), train.images(made[0].shape[0]), judge.features)


def _failures(judge: ClassJudge, made: list[Picture], words: list[str]) -> Section:
    sure = judge.probabilities(made)
    places = [judge.classes.index(word) for word in words]
    tiles = [
        Example(
            f"picture {row}",
            {"made": picture},
            [(f"taken for {judge.classes[sure[row].argmax()]}", bool(sure[row].argmax() == places[row]))],
        )
        for row, picture in enumerate(made)
    ]
    losses = [1 - float(sure[row, place]) for row, place in enumerate(places)]
    return failures.gallery(tiles, losses, words, "how little the judge takes them for what was asked")


def plain_grid(judge: ClassJudge, made: list[Picture]) -> Section:
    rows = spread(len(made), SHOWN)
    said = judge.names([made[row] for row in rows])
    tiles = [Example(name, {"made": made[row]}) for row, name in zip(rows, said, strict=True)]
    return Section("made", "Made from nothing", "Not selected; below what the judge takes each for.", tiles)


def _nearest(a_NF: NDArray[np.float64], b_MF: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distance (N,) to the nearest row of `b_MF`, less what does not depend on it."""
    nearest: NDArray[np.float64] = ((b_MF**2).sum(1)[None] - 2 * a_NF @ b_MF.T).min(1)
    return nearest


def _coverage(judge: ClassJudge, said: list[str], rng: np.random.Generator) -> dict[str, Metric]:
    """Entropy of the recognised classes and how many come at all, with bootstrap intervals."""
    places = np.array([judge.classes.index(name) for name in said])
    drawn = places[rng.integers(0, len(places), (1000, len(places)))]
    counts = np.stack([np.bincount(row, minlength=len(judge.classes)) for row in (places, *drawn)])
    shares = counts / counts.sum(1, keepdims=True)
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(1)
    found = {"classes.entropy": entropy, "classes.covered": (counts > 0).sum(1).astype(float)}
    metrics = {}
    for name, values in found.items():
        low, high = np.quantile(values[1:], [0.025, 0.975])
        metrics[name] = {"value": float(values[0]), "low": float(low), "high": float(high), "n": len(said)}
    return metrics
