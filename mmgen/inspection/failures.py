"""Failures by group: the worst answers of each kind of thing, and the scores of each kind.

A group is what the data set says of a sample (`group`): people, flags and faces of emoji, the digit, the owner of an
imported picture. Groups with few answers, which imported data have many of, say nothing and are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmgen.evaluation.metrics.bootstrap import mean_interval
from mmgen.evaluation.tasks.task import Metric, Section
from mmgen.examples import Example

LEAST = 8
"""Answers that a group must have."""
MOST = 10
"""Groups that are shown, those with most answers first."""
WORST = 4
"""Answers of each group."""


def large(groups: Sequence[str]) -> list[str]:
    """Groups with enough answers, by name.

    >>> large(["people"] * 9 + ["flags"] * 2)
    ['people']
    """
    counts = Counter(group for group in groups if group)
    return sorted(name for name, count in counts.most_common(MOST) if count >= LEAST)


def gallery(examples: Sequence[Example], losses: Sequence[float], groups: Sequence[str], what: str) -> Section:
    """The worst few answers of each group; those that are right are no failures, however few are wrong.

    Args:
        examples: what was asked and what came, a tile each; its remarks say whether it is right, where known.
        losses: how bad each is; larger is worse.
        groups: of each; where no group is large enough all are one.
        what: what a loss is, such as `chrF, 100 is right`, for the reader.
    """
    named = large(groups)
    own = list(groups) if named else ["all"] * len(groups)
    tiles = []
    for name in named or ["all"]:
        rows = [row for row, group in enumerate(own) if group == name and not _right(examples[row])]
        for row in sorted(rows, key=lambda row: (-losses[row], row))[:WORST]:
            tiles.append(replace(examples[row], title=f"{name}: {examples[row].title}"))
    about = f"The {WORST} worst answers of each group ({', '.join(named) or 'no groups'}) by {what}."
    return Section("failures", "Worst failures by group", about, tiles)


def _right(example: Example) -> bool:
    said = [verdict for _, verdict in example.remarks if verdict is not None]
    return bool(said) and all(said)


def by_group(
    values: Sequence[float], groups: Sequence[str], rng: np.random.Generator, resamples: int
) -> dict[str, Metric]:
    """Mean of a score in each group with its interval."""
    found = {}
    for name in large(groups):
        own = [value for value, group in zip(values, groups, strict=True) if group == name]
        found[name] = mean_interval(own, rng, resamples=resamples)._asdict()
    return found
