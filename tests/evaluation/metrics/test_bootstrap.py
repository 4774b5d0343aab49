"""Bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest

from mmgen.errors import DataError
from mmgen.evaluation.metrics.bootstrap import difference_interval, mean_interval


def test_the_same_generator_gives_the_same_interval() -> None:
    values = np.random.default_rng(1).random(50)

    first, second = (mean_interval(values, np.random.default_rng(3)) for _ in range(2))

    assert first == second


def test_the_interval_of_a_mean_agrees_with_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(5, 2, size=400)

    value, low, high, n = mean_interval(values, np.random.default_rng(0), resamples=4000)

    half = 1.96 * values.std() / np.sqrt(400)
    assert (value, n) == (pytest.approx(values.mean()), 400)
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)


def test_about_95_of_100_intervals_hold_the_true_mean() -> None:
    rng = np.random.default_rng(0)
    intervals = [mean_interval(rng.random(100) < 0.3, rng, resamples=400) for _ in range(200)]

    held = sum(interval.low <= 0.3 <= interval.high for interval in intervals)

    assert 180 <= held <= 199


def test_pairing_sees_a_small_gain_on_prompts_of_very_different_difficulty() -> None:
    rng = np.random.default_rng(0)
    old = rng.normal(0, 10, size=100)
    new = old + 0.5 + rng.normal(0, 0.1, size=100)

    paired = difference_interval(new, old, rng)

    assert 0.45 < paired.low < paired.value < paired.high < 0.55


def test_memory_stays_bounded_with_many_values() -> None:
    values = np.ones(3_000_000)

    interval = mean_interval(values, np.random.default_rng(0), resamples=3)

    assert interval == (1.0, 1.0, 1.0, 3_000_000)


@pytest.mark.parametrize(
    ("values", "words"),
    [([], "one or more values"), ([[1.0]], "one row"), ([1.0, float("nan"), 2.0], "value 1 of 3 is not finite")],
)
def test_values_without_a_mean_are_refused(values: list[float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        mean_interval(values, np.random.default_rng(0))


def test_pairs_of_different_length_are_refused() -> None:
    with pytest.raises(DataError, match=r"equal shapes, got \(2,\) and \(3,\)"):
        difference_interval([1, 2], [1, 2, 3], np.random.default_rng(0))
