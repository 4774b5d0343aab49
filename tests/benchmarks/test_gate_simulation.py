"""The gate's errors, measured on simulated scores: few trials here, 1,000 in docs/gate.md."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.gate_simulation import RECIPES, simulate, worlds
from mmgen.ops.gate.rules import Rules, read_rules
from mmgen.ops.runs.keys import RULES

TRIALS = 60
TOO_MANY = 9
"""More false promotions of 60 come with a probability below 0.3 % when the true share is 5 %."""


def rules_of(name: str) -> Rules:
    whole = read_rules(RULES, name)
    return dataclasses.replace(
        whole, metrics=tuple(rule for rule in whole.metrics if rule.margin is not None), resamples=1000
    )


@pytest.mark.parametrize("world", ["same", "margin"])
def test_false_promotions_are_rare(world: str) -> None:
    rules = rules_of("classify")
    for better in worlds(rules)[world]:
        rates = simulate(rules, RECIPES["classify"], better, TRIALS, np.random.default_rng(0))
        assert rates.promoted * TRIALS <= TOO_MANY


def test_an_improvement_by_the_declared_effect_is_found() -> None:
    rules = rules_of("classify")
    (better,) = worlds(rules)["effect"]

    assert simulate(rules, RECIPES["classify"], better, TRIALS, np.random.default_rng(0)).promoted >= 0.8
