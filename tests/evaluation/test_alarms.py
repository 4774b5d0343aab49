"""Alarms on things made up to be copied, repeated or all alike; pictures of a real data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmgen.data.corpus import load_corpus
from mmgen.evaluation.alarms import Watch

N = 40


@pytest.fixture(scope="module")
def pictures(tiny_emoji: Path) -> list[Any]:
    return load_corpus(tiny_emoji, "train").images(32)[:N]


def alarms(tiny_emoji: Path, made: Sequence[Any], given: dict[str, list[Any]] | None = None) -> dict[str, float]:
    def generate(given: Any, to: str, n: int, **_: Any) -> list[Any]:
        return list(made)

    watch = Watch(generate)
    assert watch(given or {}, "image", len(made), seed=0, options={}) == list(made)
    return {name: metric["value"] for name, metric in watch.alarms(tiny_emoji, "en").items()}


def blurred(pictures: list[Any]) -> list[Any]:
    """No copies, but as different from each other as the real ones: turned by a quarter."""
    return [np.ascontiguousarray(np.rot90(picture)) for picture in pictures]


def test_different_pictures_of_nothing_known_raise_no_alarm(tiny_emoji: Path, pictures: list[Any]) -> None:
    found = alarms(tiny_emoji, blurred(pictures))

    assert found["alarm.duplicates"] == 0
    assert found["alarm.copies"] < 0.3  # a face that is turned is nearly the same face
    assert found["alarm.collapse"] < 0.2


@pytest.mark.parametrize(
    ("alarm", "spoil"),
    [
        ("alarm.copies", lambda pictures: pictures),
        ("alarm.duplicates", lambda pictures: [pictures[0]] * N),
        ("alarm.collapse", lambda pictures: [np.full_like(pictures[0], shade) for shade in range(100, 100 + N)]),
    ],
)
def test_each_alarm_hears_what_it_is_for(
    tiny_emoji: Path, pictures: list[Any], alarm: str, spoil: Callable[[list[Any]], list[Any]]
) -> None:
    assert alarms(tiny_emoji, spoil(pictures))[alarm] > 0.8


def test_a_copy_of_what_was_asked_for_is_no_alarm(tiny_emoji: Path, pictures: list[Any]) -> None:
    captions = load_corpus(tiny_emoji, "train").captions("en")[:N]

    assert alarms(tiny_emoji, pictures, {"text": captions})["alarm.copies"] == 0


def test_one_answer_to_one_question_is_no_duplicate(tiny_emoji: Path, pictures: list[Any]) -> None:
    assert alarms(tiny_emoji, [pictures[0]] * N, {"text": ["the same"] * N})["alarm.duplicates"] == 0


def test_the_cost_counts_weights_and_processor_time(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(bytes(2_000_000))

    def busy(*_: Any, **__: Any) -> list[str]:
        return [str(sum(range(2_000_000)))] * 2

    watch = Watch(busy)
    watch({"text": ["a", "b"]}, "text", 2)
    found = watch.cost(tmp_path)

    assert found["cost.megabytes"]["value"] == 2.0
    assert found["cost.seconds"]["value"] > 0.001
    assert found["cost.seconds"]["n"] == 2
