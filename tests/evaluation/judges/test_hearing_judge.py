"""The hearing judge and the task that it scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmgen.data.corpus import load_corpus
from mmgen.data.dataset import Card, load
from mmgen.data.shards import write_shards
from mmgen.evaluation.judges.hearing_judge import HearingJudge, character_error, phoneme_error, train_judge
from mmgen.evaluation.tasks.speech import evaluate, of_known_words
from mmgen.evaluation.tasks.task import Subject
from mmgen.files import read_json
from mmgen.modalities.sound import RATE
from mmgen.models.base import Model
from mmgen.progress import Progress
from mmgen.recipes.speak import speak

pytest.importorskip("hama")


@pytest.fixture(scope="module")
def cut(prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty training clips, and the three shortest held-out ones of at least four words."""
    whole = load(prompts)
    said = {sample.facts()["captions"]["en"]: sample for sample in whole.split("test")}
    test = [sample for text, sample in said.items() if len(text.split()) > 3]
    test.sort(key=lambda sample: (sample.facts()["seconds"], sample.key))
    folder = tmp_path_factory.mktemp("few")
    chosen = {"train": whole.split("train")[:20], "test": sorted(test[:3], key=lambda sample: sample.key)}
    shards = {split: write_shards(folder, split, samples, per_shard=100) for split, samples in chosen.items()}
    facts = {name: getattr(whole.card, name) for name in ("name", "title", "licences", "modalities", "languages")}
    Card(**facts, splits=shards, sources=whole.card.sources).save(folder)
    return folder


class Parrot(Model):
    """Plays back the real clip of each text."""

    def __init__(self, clips: dict[str, Any]) -> None:
        super().__init__()
        self.clips = clips

    def generate(
        self, given: Mapping[str, Sequence[Any]], to: str, n: int, *, seed: int, options: Mapping[str, Any]
    ) -> list[Any]:
        return [self.clips[text] for text in given["text"]]


def test_errors_count_edits() -> None:
    assert character_error("Press 1", "press one") == 0
    assert character_error("press one", "press won") == pytest.approx(2 / 9, abs=0.12)
    assert character_error("press one", "") == 1
    assert phoneme_error(("p", "ɹ", "ɛ", "s"), ("p", "ɹ", "s")) == 0.25
    assert phoneme_error(("p",), ()) == 1


def test_it_hears_speech_and_not_noise(cut: Path) -> None:
    judge = HearingJudge()
    test = load_corpus(cut, "test")
    text, clip = test.captions("en")[0], test.sounds()[0]
    heard = judge.hear(clip)
    assert character_error(text, heard.text) < 0.4
    assert phoneme_error(judge.phonemes(text), heard.phonemes) < 0.5
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    assert character_error(text, judge.hear(noise).text) > 0.6
    assert judge.hear(noise[:100]).text == ""


def test_known_words() -> None:
    assert of_known_words(["press one", "press two"], ["one moment", "Press star"]) == [True, False]


def test_the_judge_is_measured_and_scores_a_parrot_as_the_real_clips(cut: Path, tmp_path: Path) -> None:
    recipe = speak()
    train_judge(cut, recipe, tmp_path, tmp_path, Progress())
    card = read_json(tmp_path / "judge.json")
    assert card["accuracy"]["value"] > 0.7
    assert card["accuracy"]["n"] == 3
    assert card["accuracy"]["value"] == pytest.approx(1 - card["errors"]["cer_real"]["value"])
    test = load_corpus(cut, "test")
    parrot = Parrot(dict(zip(test.captions("en"), test.sounds(), strict=True)))
    found = evaluate(Subject(parrot, tmp_path, cut, recipe, Progress()))
    assert np.mean(found.scores["sound.cer_test"]) == pytest.approx(card["errors"]["cer_real"]["value"])
    assert found.scores["sound.tempo_test"] == [1.0] * 3
    assert max(found.scores["sound.mcd_test"]) < 1e-4
    assert found.metrics["sound.cer_vocoded"]["n"] == 3
    assert set(found.headline) <= set(found.scores) | set(found.metrics) | {"sound.cer_known", "sound.per_known"}
    assert found.prompts["test"] == test.keys
