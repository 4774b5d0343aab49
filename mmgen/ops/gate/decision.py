"""The gate's arithmetic: two sets of scores and the rules in, a decision out; no folders, so it can be simulated.

A promotion claims that some primary metric is better and that no guarded one is worse than its margin. Bounds are
one-sided, from a paired bootstrap over the prompts (Efron and Tibshirani 1993, chapter 13).

- Better: one primary metric is enough, so the chances of a false win add up and are divided among the primary
  metrics (Bonferroni; for "at least one" Holm's 1979 procedure rejects in just the same cases).
- Not worse: all margins must hold, so whichever is truly broken has to be missed for a false promotion, and each is
  tested at the full error (intersection-union test, Berger 1982).
- Rounds: with each look at more scores there is one more chance of a false promotion; the error is divided among them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmgen.evaluation.metrics.bootstrap import bounds
from mmgen.ops.gate.rules import Rules, WinRule

Decision = Literal["promote", "keep", "inconclusive"]
Scores = Mapping[str, Sequence[float]]
"""One number a prompt, by metric."""

Groups = Mapping[str, Sequence[str]]
"""The group of each prompt, for the metrics that are looked at by group."""

POWER = 0.8
"""Share of true improvements by `effect` that should be found."""
_POWER_Z = NormalDist().inv_cdf(POWER)


@dataclass(kw_only=True, slots=True)
class Findings:
    """What the checks have found so far."""

    table: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    """Why the champion stays, whatever more scores would say."""
    doubts: list[str] = field(default_factory=list)
    """Why the scores do not settle it."""
    wins: list[str] = field(default_factory=list)
    """Why the challenger is better."""
    hopes: list[str] = field(default_factory=list)
    """Primary metrics that may be better, but are not shown to be."""

    def decide(self) -> tuple[Decision, list[str]]:
        """The decision and its reasons."""
        if self.refusals:
            return "keep", self.refusals
        if self.wins and not self.doubts:
            return "promote", self.wins
        if not self.wins and not self.hopes:
            return "keep", ["no primary metric can be better by its gain", *self.doubts]
        return "inconclusive", [*self.doubts, *([] if self.wins else self.hopes)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """What a comparison came to."""

    decision: Decision
    """Never inconclusive: a question that stays open keeps the champion."""
    reasons: list[str]
    table: list[dict[str, Any]]
    rounds: int


def settle(rules: Rules, ask: Callable[[int], tuple[Scores, Scores, Groups]], floors: Findings) -> Settled:
    """Compare in rounds until the scores say enough or `rules.rounds` are over.

    Args:
        rules: those with a margin need scores of both models.
        ask: scores of challenger and champion in a round, from 0, and the groups of their prompts.
        floors: what was found without a champion.
    """
    asked: list[tuple[Scores, Scores]] = []
    for number in range(rules.rounds):
        new, old, groups = ask(number)
        asked.append((new, old))
        found = Findings(table=list(floors.table), refusals=list(floors.refusals))
        compare(rules, pool([ours for ours, _ in asked]), pool([theirs for _, theirs in asked]), groups, found)
        decision, reasons = found.decide()
        if decision != "inconclusive":
            return Settled(decision=decision, reasons=reasons, table=found.table, rounds=number + 1)
        if number and asked[-1] == asked[-2]:
            break  # every prompt was asked before, and the models draw nothing
    after = f"inconclusive after {len(asked)} round{'s' if len(asked) > 1 else ''}, so the champion stays"
    return Settled(decision="keep", reasons=[after, *reasons], table=found.table, rounds=len(asked))


def pool(rounds: Sequence[Scores]) -> dict[str, list[float]]:
    """Scores of all rounds: a metric with more prompts than before stands for itself, since it holds the earlier ones;
    rounds with the same prompts and other noise are averaged prompt by prompt.

    >>> pool([{"a": [0.0, 1.0], "b": [0.0]}, {"a": [1.0, 1.0], "b": [1.0, 1.0]}])
    {'a': [0.5, 1.0], 'b': [1.0, 1.0]}
    """
    last = rounds[-1]
    return {
        name: np.mean([given[name] for given in rounds if len(given[name]) == len(scores)], axis=0).tolist()
        for name, scores in last.items()
    }


def compare(rules: Rules, new: Scores, old: Scores, groups: Groups, found: Findings) -> None:
    """Judge the paired differences; better is always positive.

    Args:
        rules: those with a margin need scores of both models.
        new: of the challenger.
        old: of the champion, for the same prompts in the same order.
        groups: of these prompts.
        found: receives rows and reasons.
    """
    error = (1 - rules.level) / rules.rounds
    primary = sum(rule.win is not None for rule in rules.metrics)
    for rule in rules.metrics:
        if rule.margin is None:
            continue
        ours, theirs = (np.asarray(scores[rule.metric], np.float64) for scores in (new, old))
        if len(ours) != len(theirs):
            found.refusals.append(f"{rule.metric} has {len(ours)} prompts, {len(theirs)} for the champion")
            continue
        gains = ours - theirs if rule.higher else theirs - ours
        means = {"challenger": float(ours.mean()), "champion": float(theirs.mean())}
        _guard(rules, rule.metric, rule.margin, gains, error, means, found)
        if rule.win is not None:
            _win(rules, rule.metric, rule.win, gains, error / primary, means, found)
        if rule.group is not None:
            labels = np.asarray(groups.get(rule.metric, ()), object)
            if len(labels) != len(gains):
                found.refusals.append(f"{rule.metric} has {len(gains)} prompts, and groups for {len(labels)} of them")
                continue
            for name in sorted(set(labels)):
                mine = labels == name
                if mine.sum() >= rule.group.least:
                    means = {"challenger": float(ours[mine].mean()), "champion": float(theirs[mine].mean())}
                    where = f"{rule.metric}[{name}]"
                    _guard(rules, where, rule.group.margin, gains[mine], error, means, found)


def row(metric: str, rule: str, passed: bool, **numbers: float | None) -> dict[str, Any]:
    """A line of the verdict's table."""
    columns = dict.fromkeys(
        ("challenger", "champion", "difference", "low", "high", "bound", "n", "power", "enough"), None
    )
    return {"metric": metric, "rule": rule, "passed": passed, **columns, **numbers}


def _guard(
    rules: Rules,
    name: str,
    margin: float,
    gains: NDArray[np.float64],
    error: float,
    means: dict[str, float],
    found: Findings,
) -> None:
    """Is it shown that the loss is within the margin?"""
    # Where losses are rare and large, few prompts hold none, and a bootstrap of these few knows of none: the bound
    # takes two more prompts for granted that went as badly as any went either way (docs/gate.md has the figures).
    worst = np.abs(gains).max()
    gain, scatter = float(gains.mean()), _scatter(gains)
    low, high = bounds([*gains, -worst, -worst], error, resamples=rules.resamples, seed=rules.seed)
    z = NormalDist().inv_cdf(1 - error)
    figures = {
        "power": _chance(margin, z * scatter / math.sqrt(len(gains)), scatter, len(gains)),  # of a model just as good
        "enough": _enough((z + _POWER_Z) * scatter, margin),
    }
    numbers = {**means, "difference": gain, "low": low, "high": high, "bound": -margin, "n": len(gains), **figures}
    found.table.append(row(name, f"no worse than -{margin:g}", low >= -margin, **numbers))
    said = f"{name}: {gain:+.4f} ({low:+.4f} to {high:+.4f}, n = {len(gains)})"
    if gain < -margin and high < 0:
        found.refusals.append(f"{said} is worse than the margin of {margin:g}")
    elif low < -margin:
        found.doubts.append(f"{said} may be worse than the margin of {margin:g}")


def _win(
    rules: Rules,
    name: str,
    win: WinRule,
    gains: NDArray[np.float64],
    error: float,
    means: dict[str, float],
    found: Findings,
) -> None:
    """Is it shown that a primary metric is better?"""
    gain, scatter = float(gains.mean()), _scatter(gains)
    low, high = bounds(gains, error, resamples=rules.resamples, seed=rules.seed)
    z = NormalDist().inv_cdf(1 - error)
    figures = {
        "power": _chance(win.effect, max(z * scatter / math.sqrt(len(gains)), win.gain), scatter, len(gains)),
        "enough": max(
            _enough((z + _POWER_Z) * scatter, win.effect), _enough(_POWER_Z * scatter, win.effect - win.gain)
        ),
    }
    better = gain >= win.gain and low > 0
    numbers = {**means, "difference": gain, "low": low, "high": high, "bound": win.gain, "n": len(gains), **figures}
    found.table.append(row(name, f"better by {win.gain:g}", better, **numbers))
    said = f"{name}: {gain:+.4f} ({low:+.4f} to {high:+.4f}, n = {len(gains)})"
    if better:
        found.wins.append(f"{said} is better by at least {win.gain:g}")
    elif high >= win.gain:
        found.hopes.append(f"{said} may be better by {win.gain:g}, which is not shown")


def _scatter(gains: NDArray[np.float64]) -> float:
    return float(gains.std(ddof=1)) if len(gains) > 1 else 0.0


def _chance(truth: float, needed: float, scatter: float, n: int) -> float:
    """Chance that the mean of `n` differences around `truth` exceeds `needed` (normal approximation)."""
    spread = scatter / math.sqrt(n)
    return 1 - NormalDist(truth, spread).cdf(needed) if spread else float(truth > needed)


def _enough(times_scatter: float, distance: float) -> int:
    """Prompts of the same scatter at which the chance is `POWER`."""
    return math.ceil((times_scatter / max(distance, 1e-9)) ** 2)
