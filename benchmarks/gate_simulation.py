"""How often the gate errs: its own decision function on simulated scores; writes the table of docs/gate.md.

    .venv/bin/python -m benchmarks.gate_simulation --trials 1000 --write docs/gate.md

Every prompt has a difficulty that both models share, a part that is this model's own, and noise that is drawn anew in
each round; a score is a threshold (right or wrong), a squashed value (0 to 100) or the value itself. Metrics of one
model share part of what is its own. Sizes and rules are those of `gates.yaml` and of each recipe's evaluation, means
and scatter are measured ones (mmgen/recipes/measured.json); SHARED is an assumption, and a low one: see docs/gate.md.

Worlds, each of `trials` comparisons:
    same     the challenger is as good as the champion in every metric: a promotion is false
    margin   it loses one guarded metric by the margin and wins all others by their effect: false, for the worst metric
    effect   it wins one primary metric by its effect and is just as good in all others: a promotion is right
    all      it wins every primary metric by its effect and is just as good in all others: right
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmgen.ops.gate.decision import Findings, Groups, Scores, settle
from mmgen.ops.gate.rules import Rules, read_rules
from mmgen.ops.runs.keys import RULES

Kind = Literal["share", "percent", "value"]
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Metric:
    """How one metric of the champion is drawn."""

    mean: float
    n: int
    most: int = 0
    """Prompts that later rounds can ask; 0 for n."""
    kind: Kind = "share"
    shared: float = 0.5
    """Share of the variance between prompts that is their difficulty, the same for both models."""
    scatter: float = 0.0
    """Standard deviation over prompts of a `value`."""


NOISE = 0.5
"""Of what is not difficulty, the share that another seed draws anew."""
COMMON = 0.3
"""Of what is a prompt's or a model's own, the share that all metrics of the model have in common."""
STEEP = 1.3
"""Of the curve that squashes a percentage: it gives chrF its measured scatter of about 30 points."""

_EMOJI = {
    "image.r5_seen": Metric(0.99, 600, 1200),
    "image.r1_seen": Metric(0.95, 600, 1200),
    "image.r1_compositions": Metric(0.77, 122),
    "text.exact_seen": Metric(0.97, 600, 1200),
    "text.exact_compositions": Metric(0.88, 122),
}
_DRAWN = {"image.precision": Metric(0.56, 1000, 2000, shared=0.0), "image.asked": Metric(0.94, 1000, 2000, shared=0.0)}
_NLL = {
    "nll.nats": Metric(99, 300, kind="value", shared=0.988, scatter=35),
    "reconstruction.mse": Metric(0.015, 750, kind="value", shared=0.96, scatter=0.0084),
    "image.asked": _DRAWN["image.asked"],
}
_CHRF: Kind = "percent"
RECIPES: dict[str, dict[str, Metric]] = {
    "emoji": _EMOJI,
    "emoji-tokens": {name: dataclasses.replace(_EMOJI[name], mean=0.7) for name in list(_EMOJI)[:4]},
    "show-and-tell": {
        "text.exact_seen": Metric(0.97, 600, 1200),
        "text.exact_compositions": Metric(0.9, 122),
        "text.chrf_concepts": Metric(43, 124, kind=_CHRF),
    },
    "gan": _DRAWN,
    "dcgan": _DRAWN,
    "vae": _NLL,
    "conditional-vae": _NLL,
    "cyclegan": {"image.r1": Metric(0.33, 211), "image.r1_back": Metric(0.33, 211)},
    "fusion": {
        "cross.all": Metric(0.95, 750, kind="value", scatter=0.12),
        "both.all": Metric(0.98, 750, kind="value", scatter=0.08),
        "joint.all": Metric(0.4, 750),
    },
    "translate": {
        "text.chrf_compositions": Metric(76, 366, kind=_CHRF),
        "text.chrf_concepts": Metric(46, 372, kind=_CHRF),
        "text.exact_compositions": Metric(0.32, 366),
    },
    "summarise": {
        "text.rougeL_test": Metric(0.16, 282, kind="value", scatter=0.145),
        "text.chrf_test": Metric(18, 282, kind="value", scatter=11),
    },
    "classify": {"answer.right": Metric(0.9, 555)},
    "regress": {"answer.error": Metric(8, 500, kind="value", scatter=6.3)},
    "listen": {
        "text.cer_test": Metric(0.16, 65, kind="value", scatter=0.33),
        "text.wer_test": Metric(0.35, 65, kind="value", scatter=0.67),
        "text.cer_known": Metric(0.05, 35, kind="value", scatter=0.065),
    },
    "speak": {
        "sound.cer_known": Metric(0.18, 35, kind="value", scatter=0.155),
        "sound.cer_test": Metric(0.18, 65, kind="value", scatter=0.135),
    },
    "tunes": {
        "nll.character": Metric(1.5, 97, kind="value", shared=0.98, scatter=0.42),
        "music.parses": Metric(0.97, 97),
        "music.key": Metric(0.9, 97),
    },
    "chorales": {"nll.frame": Metric(4.8, 81, kind="value", shared=0.98, scatter=1.7)},
}
"""Metrics of the recipes whose rules are simulated: measured means, scatter and numbers of prompts."""


@dataclass(frozen=True)
class Rates:
    """What became of one world."""

    promoted: float
    rounds: float
    """On average."""


def simulate(
    rules: Rules, metrics: Mapping[str, Metric], better: Mapping[str, float], trials: int, rng: np.random.Generator
) -> Rates:
    """Let the gate judge `trials` challengers that are better (worse, below 0) by `better`, by metric."""
    promoted = rounds = 0
    for _ in range(trials):
        settled = settle(rules, _Draw(rules, metrics, better, rng), Findings())
        promoted += settled.decision == "promote"
        rounds += settled.rounds
    return Rates(promoted / trials, rounds / trials)


class _Draw:
    """Scores of one pair of models, more of them with every round."""

    def __init__(
        self, rules: Rules, metrics: Mapping[str, Metric], better: Mapping[str, float], rng: np.random.Generator
    ) -> None:
        self._rng, self._metrics = rng, metrics
        self._shift = {
            rule.metric: better.get(rule.metric, 0.0) * (1 if rule.higher else -1)
            for rule in rules.metrics
            if rule.margin is not None
        }
        most = max(max(metrics[name].n, metrics[name].most) for name in self._shift)
        self._groups = {
            rule.metric: [str(place % 5) for place in range(most)] for rule in rules.metrics if rule.group is not None
        }
        difficulty, own = rng.standard_normal(most), rng.standard_normal((2, most))
        self._difficulty = {name: self._mixed(difficulty) for name in self._shift}
        self._own = {name: self._mixed(own) for name in self._shift}

    def __call__(self, number: int) -> tuple[Scores, Scores, Groups]:
        new, old = {}, {}
        for name, shift in self._shift.items():
            metric = self._metrics[name]
            n = min(metric.n * 2**number, max(metric.n, metric.most))
            mean = metric.mean
            if metric.kind == "share":  # room for what is better or worse
                mean = min(1 - abs(shift) - 0.002, max(abs(shift) + 0.002, mean))
            noise = self._rng.standard_normal((2, n))
            own = math.sqrt(1 - NOISE) * self._own[name][:, :n] + math.sqrt(NOISE) * noise
            latent = math.sqrt(metric.shared) * self._difficulty[name][:n] + math.sqrt(1 - metric.shared) * own
            new[name] = _score(metric, mean + shift, latent[0]).tolist()
            old[name] = _score(metric, mean, latent[1]).tolist()
        return new, old, {name: labels[: len(new[name])] for name, labels in self._groups.items()}

    def _mixed(self, common: NDArray[np.float64]) -> NDArray[np.float64]:
        mixed: NDArray[np.float64] = math.sqrt(COMMON) * common
        return mixed + math.sqrt(1 - COMMON) * self._rng.standard_normal(common.shape)


def _score(metric: Metric, mean: float, latent: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores whose expectation is `mean`."""
    if metric.kind == "share":
        return (latent < _NORMAL.inv_cdf(mean)).astype(np.float64)
    if metric.kind == "value":
        return mean + metric.scatter * latent
    middle = math.sqrt(1 + STEEP**2) * _NORMAL.inv_cdf(mean / 100)
    return np.asarray([100 * _NORMAL.cdf(middle + STEEP * value) for value in latent])


def worlds(rules: Rules) -> dict[str, list[dict[str, float]]]:
    """By name, what is better by how much; several where the worst of them counts."""
    guarded = [rule for rule in rules.metrics if rule.margin is not None]
    wins = {rule.metric: rule.win.effect for rule in guarded if rule.win is not None}
    return {
        "same": [{}],
        "margin": [{**wins, rule.metric: -(rule.margin or 0)} for rule in guarded],
        "effect": [{name: effect} for name, effect in wins.items()],
        "all": [wins],
    }


def line(name: str, trials: int, resamples: int) -> str:
    """A recipe's line of the table."""
    whole = read_rules(RULES, name)
    metrics = RECIPES[name]
    asked = tuple(rule for rule in whole.metrics if rule.margin is not None)
    if missing := [rule.metric for rule in asked if rule.metric not in metrics]:
        raise SystemExit(f"{name}: how is {missing[0]} drawn? add it to RECIPES")
    rules = dataclasses.replace(whole, metrics=asked, resamples=resamples)
    cells, rounds = [], 0.0
    for world, cases in worlds(rules).items():
        found = [
            simulate(rules, metrics, better, trials, np.random.default_rng([number, *world.encode(), *name.encode()]))
            for number, better in enumerate(cases)
        ]
        pick = max if world in ("same", "margin") else min
        cells.append(f"{100 * pick(rates.promoted for rates in found):.1f} %")
        if world == "same":
            rounds = found[0].rounds
    effects = ", ".join(f"{rule.metric} {rule.win.effect:g}" for rule in asked if rule.win is not None)
    return f"| {name} | {effects} | {' | '.join(cells)} | {rounds:.1f} |"


HEAD = (
    "| recipe | declared effects | same | worse by a margin | better in one | better in all | rounds, same |\n"
    "|---|---|---:|---:|---:|---:|---:|"
)
BEGIN, END = "<!-- simulation -->", "<!-- end of simulation -->"


def main() -> None:
    """Print the table, or write it between its marks in a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=list(RECIPES))
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstrap; gates.yaml asks for more")
    parser.add_argument("--write", type=Path, help="page with the marks that the table stands between")
    given = parser.parse_args()
    lines = [HEAD]
    for name in given.recipes:
        lines.append(line(name, given.trials, given.resamples))
        print(lines[-1], file=sys.stderr, flush=True)
    if given.write is None:
        print("\n".join(lines))
        return
    before, _, rest = given.write.read_text().partition(BEGIN)
    table = "\n".join([BEGIN, *lines, END])
    given.write.write_text(before + table + rest.partition(END)[2])


if __name__ == "__main__":
    main()
