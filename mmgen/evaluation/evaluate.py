"""The evaluation stage: a model and a judge in, scores with intervals and pictures to look at out.

Captions are asked of the model three ways: those it has seen, compositions it has not (a known role, person and skin
tone never shown together), and concepts it has never met. A drawn picture is right when, in the judge's features, no
other picture is nearer to it than the asked one; candidates are all training pictures and those of the split.
Right answers to seen captions show what was learned by heart; the other two show what was understood.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.order import generator
from mmgen.evaluation.bootstrap import mean_interval
from mmgen.evaluation.judge import Judge, load_judge
from mmgen.evaluation.pictures import write_pictures
from mmgen.evaluation.statistics import (
    frechet_distance,
    half_sample_interval,
    kernel_distance_interval,
    precision_recall,
)
from mmgen.files import read_json, write_json
from mmgen.generate import Generator
from mmgen.modalities.image import Picture, to_tensor
from mmgen.progress import Progress
from mmgen.recipes import Recipe

SPLITS = ("seen", "compositions", "concepts")
"""`seen` is a fixed sample of the training split; the others are whole splits."""

KERNEL_HALVES, FRECHET_HALVES = 100, 20
"""Half-samples behind the intervals of the two distances; each costs a fraction of a second."""


@dataclass(frozen=True)
class Answers:
    """What a model made of one split; every list has one entry a prompt."""

    asked: Corpus
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


def evaluate(
    model_folder: Path, judge_folder: Path, dataset: Path, recipe: Recipe, out: Path, progress: Progress
) -> None:
    """Score a model.

    Args:
        model_folder: written by the training stage.
        judge_folder: written by the judge stage.
        dataset: folder of a data set with splits `train`, `compositions` and `concepts`.
        recipe: its `evaluation`, `judge` and `data` parts.
        out: empty folder; receives `metrics.json`, `scores.json`, `examples.json` and pictures.
        progress: where splits are shown.
    """
    torch.set_num_threads(recipe.training.threads)
    generator_ = Generator.load(model_folder)
    judge = load_judge(judge_folder, recipe.judge)
    language = recipe.data.languages[0]
    size = generator_.model.config.image_px
    progress.start("evaluate", len(SPLITS) + 1, "splits")
    train = load_corpus(dataset, "train", size, (language,))
    train_features = judge.features(train.images)
    progress.update(1)
    answers, seen_rows = {}, torch.empty(0)
    for number, split in enumerate(SPLITS):
        if split == "seen":
            seen_rows = torch.randperm(len(train), generator=generator("evaluation", "seen"))[: recipe.evaluation.seen]
            asked = _take(train, seen_rows.tolist())
            pool, pool_features = train, train_features
        else:
            asked = load_corpus(dataset, split, size, (language,))
            pool = _join(train, asked)
            pool_features = torch.cat([train_features, judge.features(asked.images)])
        answers[split] = answer(
            generator_, judge, asked, pool, pool_features, language, recipe.evaluation.seed + number
        )
        progress.update(number + 2)
    others = torch.ones(len(train), dtype=torch.bool)
    others[seen_rows] = False
    # Features have length 1; times sqrt(F) each has unit size, as the kernel's constant expects.
    scale = train_features.shape[1] ** 0.5
    real = scale * train_features[others].double().numpy()
    scores = _scores(answers) | {"codec.psnr": _psnr(generator_, answers)}
    rng = np.random.default_rng(recipe.evaluation.seed)
    metrics: dict[str, dict[str, float]] = {}
    for name, values in scores.items():
        metrics[name] = mean_interval(values, rng, resamples=recipe.evaluation.resamples)._asdict()
    metrics |= _set_metrics(scale * answers["seen"].features, real, rng, recipe.evaluation.resamples)
    metrics["judge.accuracy"] = read_json(judge_folder / "judge.json")["accuracy"]
    write_json(out / "metrics.json", metrics)
    write_json(out / "scores.json", scores)
    write_json(out / "prompts.json", {split: given.asked.keys for split, given in answers.items()})
    write_pictures(answers, generator_, language, out)
    progress.done()


def answer(
    generator_: Generator,
    judge: Judge,
    asked: Corpus,
    pool: Corpus,
    pool_features: torch.Tensor,
    language: str,
    seed: int,
) -> Answers:
    """Draw every caption of `asked` and describe every picture of it; rank the drawn ones within `pool`."""
    prompts = asked.captions[language]
    drawn = generator_.draw(prompts, seed=seed, language=language)
    features_NF = judge.features(drawn)
    nearness_NP = features_NF @ pool_features.T
    twins: dict[bytes, list[int]] = {}
    for place, picture in enumerate(pool.images):
        twins.setdefault(picture.tobytes(), []).append(place)
    ranks, nearest, references = [], [], []
    for row, picture in enumerate(asked.images):
        same = twins[picture.tobytes()]
        own = nearness_NP[row, same].max()
        nearer = nearness_NP[row] > own
        nearer[same] = False
        ranks.append(int(nearer.sum()))
        nearest.append(pool.captions[language][int(nearness_NP[row].argmax())])
        references.append([pool.captions[language][place] for place in same])
    told = generator_.describe(asked.images, language=language)
    return Answers(asked, drawn, ranks, nearest, told, references, features_NF.double().numpy())


def _scores(answers: dict[str, Answers]) -> dict[str, list[float]]:
    """One number a prompt for every score that is a mean over prompts."""
    from sacrebleu.metrics import CHRF

    chrf = CHRF()
    scores: dict[str, list[float]] = {}
    for split, given in answers.items():
        for k in (1, 5):
            scores[f"image.r{k}_{split}"] = [float(rank < k) for rank in given.ranks]
        pairs = list(zip(given.told, given.references, strict=True))
        scores[f"text.exact_{split}"] = [float(told in right) for told, right in pairs]
        scores[f"text.chrf_{split}"] = [chrf.sentence_score(told, right).score for told, right in pairs]
    return scores


def _psnr(generator_: Generator, answers: dict[str, Answers]) -> list[float]:
    """Peak signal to noise in dB of encode-decode, for pictures that the codec was not fitted to."""
    held_out = [picture for split in ("compositions", "concepts") for picture in answers[split].asked.images]
    x_N3SS = to_tensor(held_out)
    codec = generator_.model.codec
    with torch.no_grad():
        error_N = (codec.decode(codec.encode(x_N3SS)) - x_N3SS).square().flatten(1).mean(1)
    return [float(value) for value in 10 * torch.log10(4 / error_N.clamp_min(1e-10))]


def _set_metrics(
    drawn: NDArray[np.float64], real: NDArray[np.float64], rng: np.random.Generator, resamples: int
) -> dict[str, dict[str, float]]:
    """Distances of the drawn set (seen captions) to training pictures whose captions were not asked."""
    value, low, high = kernel_distance_interval(drawn, real, rng, KERNEL_HALVES)
    metrics: dict[str, dict[str, float]] = {"image.kid": {"value": value, "low": low, "high": high, "n": len(drawn)}}
    value = frechet_distance(drawn, real)
    halves = [
        frechet_distance(*(rows[rng.permutation(len(rows))[: len(rows) // 2]] for rows in (drawn, real)))
        for _ in range(FRECHET_HALVES)
    ]
    low, high = half_sample_interval(value, halves)
    metrics["image.fid"] = {"value": value, "low": low, "high": high, "n": len(drawn)}
    for name, values in zip(("precision", "recall"), precision_recall(drawn, real), strict=True):
        metrics[f"image.{name}"] = mean_interval(values, rng, resamples=resamples)._asdict()
    return metrics


def _take(corpus: Corpus, rows: list[int]) -> Corpus:
    return Corpus(
        keys=[corpus.keys[row] for row in rows],
        images=[corpus.images[row] for row in rows],
        captions={language: [texts[row] for row in rows] for language, texts in corpus.captions.items()},
        concepts=[corpus.concepts[row] for row in rows],
        groups=[corpus.groups[row] for row in rows],
    )


def _join(first: Corpus, second: Corpus) -> Corpus:
    return Corpus(
        keys=first.keys + second.keys,
        images=first.images + second.images,
        captions={language: texts + second.captions[language] for language, texts in first.captions.items()},
        concepts=first.concepts + second.concepts,
        groups=first.groups + second.groups,
    )
