"""The emoji data set: what is in it, what is held out, and that every machine builds the pinned bytes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmgen.data.config import LANGUAGES
from mmgen.data.dataset import data_version, load
from mmgen.data.sources.emoji import TONES, caption

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def facts(emoji: Path) -> dict[str, list[dict[str, Any]]]:
    dataset = load(emoji)
    return {split: [sample.facts() for sample in dataset.split(split)] for split in dataset.card.splits}


@pytest.mark.parametrize("name", ["emoji", "digits"])
def test_the_build_is_the_version_that_data_dvc_pins(name: str, request: pytest.FixtureRequest) -> None:
    outs = yaml.safe_load((ROOT / "data.dvc").read_text())["outs"]
    pinned = {out["path"]: out["md5"] for out in outs}

    assert data_version(request.getfixturevalue(name)) == pinned[f"data/{name}"]


def test_all_pictures_are_there_in_four_splits(facts: dict[str, list[dict[str, Any]]]) -> None:
    assert set(facts) == {"train", "compositions", "concepts", "judge"}
    assert sum(map(len, facts.values())) == 3953
    assert len(facts["train"]) > 3000


def test_every_sample_has_a_caption_in_every_language(facts: dict[str, list[dict[str, Any]]]) -> None:
    for samples in facts.values():
        for sample in samples:
            assert set(sample["captions"]) == set(LANGUAGES)
            assert all(text == text.strip() != "" for text in sample["captions"].values())


def test_judge_and_held_out_concepts_are_in_no_other_split(facts: dict[str, list[dict[str, Any]]]) -> None:
    concepts = {split: {sample["concept"] for sample in samples} for split, samples in facts.items()}

    assert not concepts["judge"] & (concepts["train"] | concepts["compositions"] | concepts["concepts"])
    assert not concepts["concepts"] & (concepts["train"] | concepts["compositions"])


def test_each_composition_is_new_but_its_person_role_and_tone_are_not(facts: dict[str, list[dict[str, Any]]]) -> None:
    seen = {(sample["role"], sample["person"], sample["tone"]) for sample in facts["train"]}
    for sample in facts["compositions"]:
        role, person, tone = sample["role"], sample["person"], sample["tone"]
        assert (role, person, tone) not in seen
        assert sum((role, person, other) in seen for other in TONES) == 4
        assert tone in TONES
    assert set(Counter(sample["role"] for sample in facts["compositions"]).values()) == {2}


def test_captions_read_like_english() -> None:
    assert caption(":woman_firefighter_dark_skin_tone:") == "woman firefighter, dark skin tone"
    assert caption(":man_light_skin_tone_red_hair:") == "man, light skin tone, red hair"
    assert caption(":red_heart:") == "red heart"
