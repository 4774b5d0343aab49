"""Task `captioned`: a model that draws captions and describes pictures, each held against the other.

Captions are asked of the model three ways: those it has seen, compositions it has not (a known role, person and skin
tone never shown together), and concepts it has never met; of imported data, those it has seen and the `test` split. A
drawn picture is right when, in the judge's features, no other picture is nearer to it than the asked one; candidates
are all training pictures and those of the split. Right answers to seen captions show what was learned by heart; the
others show what was understood.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mmgen.data.corpus import Corpus, load_corpus
from mmgen.evaluation.judges.views_judge import Judge, load_judge
from mmgen.evaluation.metrics.bootstrap import mean_interval
from mmgen.evaluation.metrics.statistics import frechet_distance_interval, kernel_distance_interval, precision_recall
from mmgen.evaluation.tasks.captions import bleu4, caption_scores, distinct, groups_of, seen_rows
from mmgen.evaluation.tasks.task import Findings, Metric, Section, Subject
from mmgen.examples import Example, sheet, spread
from mmgen.inspection import attribution, failures
from mmgen.inspection.latent import Interpolates, interpolations
from mmgen.inspection.neighbours import neighbours
from mmgen.modalities.image import Picture
from mmgen.models.base import Model

SPLITS = {
    "seen": ("Seen captions", "Captions of the training set, drawn again. Right answers are memory."),
    "compositions": ("Held-out compositions", "Known roles, persons and skin tones that were never shown together."),
    "concepts": ("Held-out concepts", "Things that the model has never met. Reported, not expected."),
    "test": ("Held-out samples", "Of the same kind as the training samples, never shown to the model."),
}
"""`seen` is a fixed sample of the training split; the others are whole splits, where the data set has them."""

HEADLINE = {
    "image.r1_seen": "seen captions drawn right",
    "image.r1_compositions": "new compositions drawn right",
    "text.exact_seen": "pictures described exactly",
    "image.kid": "kernel distance to real pictures",
    "image.r5_seen": "seen captions, right one among the nearest 5",
    "image.r5_compositions": "new compositions, right one among the nearest 5",
    "image.r1_test": "held-out captions drawn right",
    "text.chrf_test": "chrF of descriptions of held-out pictures",
    "image.r5_test": "held-out captions, right one among the nearest 5",
    "image.r1_concepts": "new concepts drawn right",
    "image.fid": "Frechet distance to real pictures",
    "text.exact_compositions": "new compositions described exactly",
    "text.exact_concepts": "new concepts described exactly",
    "text.chrf_concepts": "chrF of descriptions of new concepts",
    "text.exact_test": "held-out pictures described exactly",
    "codec.psnr": "what the codec keeps of a picture",
    "judge.accuracy": "real pictures that the judge tells apart",
}

KERNEL_HALVES, FRECHET_HALVES = 100, 20
"""Half-samples behind the intervals of the two distances; each costs a fraction of a second."""
SHOWN, FAILURES, LOOKED_INTO, ERASED = 32, 16, 8, 4


@dataclass(frozen=True)
class Answers:
    """What a model made of one split; every list has one entry a prompt."""

    asked: Corpus
    prompts: list[str]
    real: list[Picture]
    drawn: list[Picture]
    ranks: list[int]
    """How many other pictures are nearer to the drawn one than the asked one; 0 is right."""
    nearest: list[str]
    """Caption of the nearest picture."""
    told: list[str]
    """Caption that the model gave the real picture."""
    references: list[list[str]]
    """Captions that are right for it: pictures can be identical."""
    features: NDArray[np.float64]
    """(N, F) of the drawn pictures."""


def evaluate(subject: Subject) -> Findings:
    """Draw and describe what was seen, and every held-out split that the data set has."""
    recipe = subject.recipe
    judge = load_judge(subject.judge, recipe.judge)
    language, size = recipe.data.languages[0], subject.model.config.image_px
    splits = subject.splits(SPLITS)
    subject.progress.start("evaluate", len(splits) + 1, "splits")
    train = load_corpus(subject.dataset, "train")
    train_features = judge.features(train.images(size))
    subject.progress.update(1)
    answers: dict[str, Answers] = {}
    rows: list[int] = []
    for number, split in enumerate(splits):
        if split == "seen":
            rows = seen_rows(len(train), recipe.evaluation.seen)
            asked, pool, pool_features = train.take(rows), [train], train_features
        else:
            asked = load_corpus(subject.dataset, split)
            pool = [train, asked]
            pool_features = torch.cat([train_features, judge.features(asked.images(size))])
        answers[split] = answer(subject, judge, asked, pool, pool_features, language, recipe.evaluation.seed + number)
        subject.progress.update(number + 2)
    others = torch.ones(len(train), dtype=torch.bool)
    others[rows] = False
    # Features have length 1; times sqrt(F) each has unit size, as the kernel's constant expects.
    scale = train_features.shape[1] ** 0.5
    real = scale * train_features[others].double().numpy()
    metrics = _set_metrics(scale * answers["seen"].features, real, subject.rng(), recipe.evaluation.resamples)
    held_out = [picture for split in splits[1:] for picture in answers[split].real]
    again = subject.model.reconstruct(held_out)
    scores = _scores(answers) | {"codec.psnr": [_psnr(*pair) for pair in zip(held_out, again, strict=True)]}
    metrics |= subject.judge_accuracy()
    for split, given in answers.items():
        metrics[f"text.bleu4_{split}"] = bleu4(given.told, given.references, subject.rng(), recipe.evaluation.resamples)
    subject.progress.done()
    return Findings(
        headline={name: what for name, what in HEADLINE.items() if name in scores or name in metrics},
        sections=[
            *(_section(split, answers[split]) for split in splits),
            _failures(answers.get("test", answers["seen"])),
            _reconstructions(answers[splits[-1]], again[-len(answers[splits[-1]].real) :]),
            *_inside(subject.model, answers[splits[1]], train.images(size), judge, recipe.evaluation.seed),
        ],
        scores=scores,
        metrics=metrics,
        prompts={split: given.asked.keys for split, given in answers.items()},
        groups=groups_of(scores, {split: given.asked for split, given in answers.items()}),
    )


def answer(
    subject: Subject,
    judge: Judge,
    asked: Corpus,
    pool: list[Corpus],
    pool_features: torch.Tensor,
    language: str,
    seed: int,
) -> Answers:
    """Draw every caption of `asked` and describe every picture of it; rank the drawn ones within `pool`."""
    prompts, size = asked.captions(language), subject.model.config.image_px
    real = asked.images(size)
    options = {"language": language}
    drawn = subject.model.generate({"text": prompts}, "image", len(prompts), seed=seed, options=options)
    features_NF = judge.features(drawn)
    nearness_NP = features_NF @ pool_features.T
    names = [caption for corpus in pool for caption in corpus.captions(language)]
    twins: dict[bytes, list[int]] = {}
    for place, picture in enumerate(picture for corpus in pool for picture in corpus.images(size)):
        twins.setdefault(picture.tobytes(), []).append(place)
    ranks, nearest, references = [], [], []
    for row, picture in enumerate(real):
        same = twins[picture.tobytes()]
        own = nearness_NP[row, same].max()
        nearer = nearness_NP[row] > own
        nearer[same] = False
        ranks.append(int(nearer.sum()))
        nearest.append(names[int(nearness_NP[row].argmax())])
        references.append([names[place] for place in same])
    told = subject.model.generate({"image": real}, "text", len(real), seed=seed, options=options)
    return Answers(asked, prompts, real, drawn, ranks, nearest, told, references, features_NF.double().numpy())


def _scores(answers: dict[str, Answers]) -> dict[str, list[float]]:
    """One number a prompt for every score that is a mean over prompts; of captions the same as in task `captions`."""
    scores: dict[str, list[float]] = {}
    for split, given in answers.items():
        for k in (1, 5):
            scores[f"image.r{k}_{split}"] = [float(rank < k) for rank in given.ranks]
        told = caption_scores(given.told, given.references) | {"distinct": distinct(given.told)}
        scores |= {f"text.{name}_{split}": values for name, values in told.items()}
    return scores


def _psnr(real: Picture, again: Picture) -> float:
    """Peak signal to noise in dB of encode-decode, for a picture that the codec was not fitted to."""
    error = np.square(real.astype(np.float64) - again).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-4)))


def _set_metrics(
    drawn: NDArray[np.float64], real: NDArray[np.float64], rng: np.random.Generator, resamples: int
) -> dict[str, Metric]:
    """Distances of the drawn set (seen captions) to training pictures whose captions were not asked."""
    metrics: dict[str, Metric] = {}
    for name, (value, low, high) in {
        "image.kid": kernel_distance_interval(drawn, real, rng, KERNEL_HALVES),
        "image.fid": frechet_distance_interval(drawn, real, rng, FRECHET_HALVES),
    }.items():
        metrics[name] = {"value": value, "low": low, "high": high, "n": len(drawn)}
    for name, values in zip(("precision", "recall"), precision_recall(drawn, real), strict=True):
        metrics[f"image.{name}"] = mean_interval(values, rng, resamples=resamples)._asdict()
    return metrics


def _section(split: str, given: Answers) -> Section:
    title, about = SPLITS[split]
    about += " Left the real picture, right the one drawn from the caption; below how the model describes the real one."
    return Section(split, title, about, [_example(given, row) for row in spread(len(given.drawn), SHOWN)])


def _example(given: Answers, row: int) -> Example:
    told = given.told[row]
    right = told in given.references[row]
    remarks: list[tuple[str, bool | None]] = [
        ("described exactly" if right else f"described as {told or 'nothing'}", right)
    ]
    if given.ranks[row]:
        remarks.insert(0, (f"taken for {given.nearest[row]}", False))
    return Example(given.prompts[row], {"real": given.real[row], "drawn": given.drawn[row]}, remarks)


def _failures(given: Answers) -> Section:
    """The captions whose picture is farthest from right, in each group: asked, drawn, taken for."""
    tiles = [
        Example(
            prompt,
            {"real": given.real[row], "drawn": given.drawn[row]},
            [(f"taken for {given.nearest[row]}", not given.ranks[row]), (f"{given.ranks[row]} are nearer", None)],
        )
        for row, prompt in enumerate(given.prompts)
    ]
    about = "how many other pictures are nearer to the drawn one than the asked one"
    return failures.gallery(tiles, given.ranks, given.asked.groups, about)


def _inside(model: Model, given: Answers, train: list[Picture], judge: Judge, seed: int) -> list[Section]:
    """What the model looks at and what it knows by heart, on a few held-out prompts."""
    rows = spread(len(given.drawn), LOOKED_INTO)
    titles, drawn = [given.prompts[row] for row in rows], [given.drawn[row] for row in rows]
    found = [attribution.words(model, titles[:ERASED], seed)]
    if isinstance(model, attribution.Describes):
        real, told = [given.real[row] for row in rows], [given.told[row] for row in rows]
        found.append(attribution.pixels(model, real, told, model.config.image_px))
    if isinstance(model, Interpolates):
        pairs = [{"text": list(pair)} for pair in itertools.pairwise(titles)]
        found.append(interpolations(model, pairs, seed))
    return [*found, neighbours(drawn, titles, train, judge.features)]


def _reconstructions(given: Answers, again: list[Picture]) -> Section:
    tiles = [
        Example(given.prompts[row], {"real": given.real[row], "kept": again[row]})
        for row in spread(len(again), FAILURES)
    ]
    about = "Held-out pictures, encoded and decoded again."
    return Section("reconstructions", "What the codec loses", about, sheet=sheet(tiles))
