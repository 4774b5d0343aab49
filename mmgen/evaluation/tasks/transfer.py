"""Task `transfer`: pictures of one style into another, held against the true counterparts.

The `test` split has every concept in both styles, which the model never saw: a painted picture is right when, in the
judge's features, no other drawing of the wanted style is nearer to it than its true counterpart. Everything is also
measured for copying the input, which needs no model. `image.inverted` counts pictures that came out with dark and light
exchanged, a known failure of unpaired training.

Two distances compare a painted picture with its counterpart. `image.l1` asks for each pixel, so an outline beside the
true one costs twice, and no outline costs once: `image.l1_ratio_others` says how far that goes, with real drawings of
other concepts in place of painted ones. Where it is above 1, the difference in pixels favours the wrong style.
`image.distance` compares layers of the judge instead, as LPIPS does (Zhang et al. 2018, arXiv:1801.03924, eq. 1), but
in our judge and with every channel at weight 1: it is to be compared at one judge only.

Shapes here: N pictures, F features.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from mmgen.data.corpus import Corpus, load_corpus
from mmgen.evaluation.judges.views_judge import IMAGE_PX, Judge, load_judge
from mmgen.evaluation.metrics.bootstrap import ratio_interval
from mmgen.evaluation.metrics.statistics import kernel_distance_interval
from mmgen.evaluation.tasks.task import Findings, Metric, Section, Subject
from mmgen.examples import Example, spread
from mmgen.modalities.image import Picture, resize, to_tensor

HEADLINE = {
    "image.l1_ratio": "difference in pixels from the true drawing, as a share of the copy's",
    "image.distance_ratio": "distance to the true drawing in the judge's layers, as a share of the copy's",
    "image.r1": "true drawing nearest of all",
    "image.r1_copy": "the same for a copy of the input",
    "image.kid": "kernel distance to the style",
    "image.kid_copy": "kernel distance of copies to the style",
    "image.l1_ratio_others": "difference in pixels, real drawings of other concepts: right style as a share of wrong",
    "image.r1_gain": "true drawing nearest of all: painted less copied",
    "image.l1_ratio_back": "the other way: difference in pixels as a share of the copy's",
    "image.distance_ratio_back": "the other way: distance as a share of the copy's",
    "image.r1_gain_back": "the other way: painted less copied",
    "image.kid_back": "the other way: kernel distance to the style",
    "image.inverted": "pictures with light and dark exchanged",
    "cycle.l1": "mean absolute difference there and back",
    "judge.accuracy": "real pictures that the judge tells apart",
}
HALVES = 50
OTHERS = 8
"""Other concepts that each drawing is compared with."""
SHOWN = 24


def evaluate(subject: Subject) -> Findings:
    """Both ways between the two styles of the model."""
    config = subject.model.config
    judge = load_judge(subject.judge, subject.recipe.judge)
    test = load_corpus(subject.dataset, "test")
    sides = {style: _side(test, style) for style in (config.source, config.target)}
    subject.progress.start("evaluate", 2, "ways")
    scores: dict[str, list[float]] = {}
    metrics: dict[str, Metric] = {}
    sections = []
    for number, (own, other) in enumerate(((config.source, config.target), (config.target, config.source))):
        suffix = "_back" if number else ""
        given, wanted = (sides[style].images(config.image_px) for style in (own, other))
        seed, n = subject.recipe.evaluation.seed, len(given)
        made = subject.model.generate({"image": given}, "image", n, seed=seed, options={"style": other})
        again = subject.model.generate({"image": made}, "image", n, seed=seed, options={"style": own})
        one_way, of_sets = _one_way(subject, judge, given, made, wanted)
        scores |= {f"{name}{suffix}": values for name, values in one_way.items()}
        scores[f"cycle.l1{suffix}"] = _l1(again, given).tolist()
        metrics |= {f"{name}{suffix}": metric for name, metric in of_sets.items()}
        sections.append(_section(sides[own], own, other, given, made, again, wanted))
        subject.progress.update(number + 1)
    subject.progress.done()
    keys = {f"{style}": side.keys for style, side in sides.items()}
    return Findings(HEADLINE, sections, scores, metrics | subject.judge_accuracy(), keys)


def _side(test: Corpus, style: str) -> Corpus:
    """The drawings of one style, in the order of their concepts."""
    rows = [row for row, name in enumerate(test.values("style")) if name == style]
    return test.take(sorted(rows, key=lambda row: test.concepts[row]))


def _one_way(
    subject: Subject, judge: Judge, given: list[Picture], made: list[Picture], wanted: list[Picture]
) -> tuple[dict[str, list[float]], dict[str, Metric]]:
    real_NF = judge.features(wanted)
    scores: dict[str, list[float]] = {}
    metrics: dict[str, Metric] = {}
    n, rng = len(made), subject.rng()
    for suffix, pictures in (("", made), ("_copy", given)):
        drawn_NF = judge.features(pictures)
        nearness_NN = (drawn_NF @ real_NF.T).numpy()
        ranks = (nearness_NN > nearness_NN.diagonal()[:, None]).sum(1)
        scores |= {f"image.r{k}{suffix}": (ranks < k).astype(float).tolist() for k in (1, 5)}
        scores[f"image.l1{suffix}"] = _l1(pictures, wanted).tolist()
        scores[f"image.distance{suffix}"] = _distance(judge, pictures, wanted).tolist()
        scale = real_NF.shape[1] ** 0.5
        features = (scale * drawn_NF.double().numpy(), scale * real_NF.double().numpy())
        value, low, high = kernel_distance_interval(*features, rng, HALVES)
        metrics[f"image.kid{suffix}"] = {"value": value, "low": low, "high": high, "n": n}
    scores["image.inverted"] = [float(_correlation(a, b) < 0) for a, b in zip(given, made, strict=True)]
    for name in ("l1", "distance"):
        above, below = scores[f"image.{name}"], scores[f"image.{name}_copy"]
        metrics[f"image.{name}_ratio"] = ratio_interval(above, below, rng)._asdict()
    right, wrong = _l1_of_others(wanted, wanted), _l1_of_others(given, wanted)
    metrics["image.l1_ratio_others"] = ratio_interval(right, wrong, rng)._asdict()
    # Paired: the interval of the difference is narrower than those of the two shares suggest.
    painted_right, copied_right = scores["image.r1"], scores["image.r1_copy"]
    scores["image.r1_gain"] = [painted - copied for painted, copied in zip(painted_right, copied_right, strict=True)]
    return scores, metrics


def _l1(pictures: list[Picture], wanted: list[Picture]) -> NDArray[np.float64]:
    """Mean absolute difference (N,) on the scale of 0 to 1."""
    difference = np.abs(np.stack(pictures).astype(np.float64) - np.stack(wanted)) / 255
    each: NDArray[np.float64] = difference.mean(axis=(1, 2, 3))
    return each


def _l1_of_others(pictures: list[Picture], wanted: list[Picture]) -> list[float]:
    """Mean of `_l1` over pictures of `OTHERS` other concepts, spread evenly over the list."""
    n = len(wanted)
    shifts = {max(1, n * place // (OTHERS + 1)) for place in range(1, OTHERS + 1)}
    return [float(one) for one in np.mean([_l1(pictures[s:] + pictures[:s], wanted) for s in sorted(shifts)], axis=0)]


@torch.no_grad()
def _distance(judge: Judge, pictures: list[Picture], wanted: list[Picture]) -> NDArray[np.float64]:
    """Distance (N,) in the judge's layers: squared difference of directions, mean over places, sum over layers."""
    first, second = (to_tensor([resize(picture, IMAGE_PX) for picture in side]) for side in (pictures, wanted))
    total_N = np.zeros(len(pictures))
    for layer in judge.layers:
        first, second = layer(first), layer(second)
        if isinstance(layer, nn.SiLU):
            difference = F.normalize(first, dim=1) - F.normalize(second, dim=1)
            total_N += difference.square().sum(1).mean((1, 2)).double().numpy()
    return total_N


def _correlation(a: Picture, b: Picture) -> float:
    """Correlation of the grey values of two pictures; 1 where one of them is flat."""
    first, second = (picture.astype(np.float64).mean(2).ravel() for picture in (a, b))
    return float(np.corrcoef(first, second)[0, 1]) if first.std() > 0 and second.std() > 0 else 1.0


def _section(
    side: Corpus,
    own: str,
    other: str,
    given: list[Picture],
    made: list[Picture],
    again: list[Picture],
    wanted: list[Picture],
) -> Section:
    tiles = [
        Example(
            side.concepts[row],
            {"given": given[row], "painted": made[row], "back": again[row], "true": wanted[row]},
        )
        for row in spread(len(given), SHOWN)
    ]
    about = (
        f"Concepts that the model never saw: given in {own}, painted in {other}, painted back, and the true {other} "
        "drawing."
    )
    return Section(f"to_{other}".replace("-", "_"), f"From {own} to {other}", about, tiles)
