"""Scores of texts, and the task `captions` with captioners that we know."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmgen.data.corpus import Corpus, load_corpus
from mmgen.evaluation.config import EvaluationConfig
from mmgen.evaluation.tasks import captions
from mmgen.evaluation.tasks.captions import bleu4, caption_scores, cider, distinct, shuffled
from mmgen.evaluation.tasks.task import Findings, Subject
from mmgen.modalities.image import Picture
from mmgen.models.base import Model
from mmgen.models.captioner.config import ShowTellConfig
from mmgen.progress import Progress
from mmgen.recipes import get


@pytest.fixture(scope="module")
def texts(tiny_emoji: Path) -> list[str]:
    return load_corpus(tiny_emoji, "train").captions("en")


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_bleu_of_the_set_is_that_of_sacrebleu(texts: list[str]) -> None:
    from sacrebleu.metrics import BLEU

    said = [*texts[:30], *(text.partition(" ")[0] for text in texts[30:])]

    found = bleu4(said, [[text] for text in texts], rng(), 200)

    assert found["value"] == pytest.approx(BLEU().corpus_score(said, [texts]).score)
    assert found["low"] < found["value"] < found["high"]


def test_exact_texts_score_full_marks_and_those_of_others_do_not(texts: list[str]) -> None:
    references = [[text] for text in texts]
    right = caption_scores(texts, references)
    wrong = caption_scores(shuffled(texts), references)

    assert set(right["exact"]) == {1.0}
    assert np.mean(right["chrf"]) == pytest.approx(100)
    assert bleu4(texts, references, rng(), 10)["value"] == pytest.approx(100)
    assert np.mean(wrong["exact"]) < 0.05
    assert np.mean(wrong["chrf"]) < 30
    assert np.mean(wrong["cider"]) < 2 < np.mean(right["cider"])


def test_cider_counts_rare_words_more_and_is_ten_for_an_exact_text_of_four_words_that_no_other_has() -> None:
    references = [["a big red heart"], ["a big cat asleep"], ["a big tree"], ["a big house on fire"]]

    exact, half, rare, common = (
        cider([said, "", "", ""], references)[0] for said in ("a big red heart", "a big", "red heart", "big a")
    )

    assert exact == pytest.approx(10)
    assert half == common == 0  # words that all pictures have say nothing
    assert 0 < rare < exact


def test_cider_of_a_word_said_many_times_does_not_grow() -> None:
    references = [["red heart of fire"], ["green tree"]]

    once, often = (cider([said, ""], references)[0] for said in ("heart", "heart heart heart heart"))

    assert often < once


def test_a_text_without_references_is_refused() -> None:
    with pytest.raises(ValueError, match="2 texts and 1 lists of references"):
        caption_scores(["a", "b"], [["a"]])


def test_shuffling_keeps_the_texts_and_leaves_none_in_place(texts: list[str]) -> None:
    numbered = [f"{place} {text}" for place, text in enumerate(texts)]

    moved = shuffled(numbered)

    assert sorted(moved) == sorted(numbered)
    assert not any(here == there for here, there in zip(moved, numbered, strict=True))


def test_distinct_is_the_share_of_texts_that_differ() -> None:
    assert np.mean(distinct(["same"] * 10)) == pytest.approx(0.1)
    assert np.mean(distinct(["one", "two", "two", "two"])) == pytest.approx(0.5)


class Knows(Model):
    """Tells the real caption of a picture that it was shown before, or one text always."""

    config = ShowTellConfig(image_px=32)

    def __init__(self, corpora: Sequence[Corpus], always: str) -> None:
        super().__init__()
        self.always = always
        self.known = {
            picture.tobytes(): caption
            for corpus in corpora
            for picture, caption in zip(corpus.images(32), corpus.captions("en"), strict=True)
        }

    def generate(self, given: Any, to: str, n: int, *, seed: int, options: Any) -> list[Any]:
        return [self.always or self.known[picture.tobytes()] for picture in given["image"]]

    def attention(self, pictures: Sequence[Picture]) -> list[tuple[list[str], NDArray[np.float32]]]:
        return [(["a", "b"], np.full((2, 4, 4), 1 / 16, np.float32)) for _ in pictures]


def judged(tiny_emoji: Path, folder: Path, always: str = "") -> Findings:
    corpora = [load_corpus(tiny_emoji, split) for split in ("train", "compositions", "concepts")]
    recipe = dataclasses.replace(get("emoji"), evaluation=EvaluationConfig(seen=50, resamples=50))
    return captions.evaluate(Subject(Knows(corpora, always), folder, tiny_emoji, recipe, Progress()))


def test_a_captioner_that_knows_is_right_and_one_that_says_one_thing_is_found_out(
    tiny_emoji: Path, tmp_path: Path
) -> None:
    knows, parrot = judged(tiny_emoji, tmp_path), judged(tiny_emoji, tmp_path, "red heart")

    for split in ("seen", "compositions", "concepts"):
        assert np.mean(knows.scores[f"text.exact_{split}"]) == 1
        assert np.mean(knows.scores[f"text.distinct_{split}"]) > 0.9
        assert knows.metrics[f"text.bleu4_{split}"]["value"] > 99
        assert np.mean(parrot.scores[f"text.distinct_{split}"]) == pytest.approx(1 / len(parrot.prompts[split]))
    assert np.mean(knows.scores["text.chrf_shuffled"]) < 40
    assert np.mean(parrot.scores["text.chrf_shuffled"]) == pytest.approx(np.mean(parrot.scores["text.chrf_seen"]))


def test_what_is_shown_says_right_and_wrong_and_where_the_model_looked(tiny_emoji: Path, tmp_path: Path) -> None:
    found = judged(tiny_emoji, tmp_path, "red heart")

    sections = {section.name: section for section in found.sections}

    assert set(sections) == {"seen", "compositions", "concepts", "failures", "attention"}
    assert sections["concepts"].examples[0].remarks == [("described as red heart", False)]
    assert sections["attention"].sheet is not None
    assert set(found.headline) <= set(found.scores) | set(found.metrics)
