"""Text to text: pieces come back as texts, answers are causal, copying copies, scores are those of the papers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmgen import models
from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.dataset import load
from mmgen.data.order import generator
from mmgen.data.sources import descriptions as source
from mmgen.data.sources.build import build
from mmgen.errors import ConfigError
from mmgen.evaluation.tasks import rewriting
from mmgen.evaluation.tasks.rewriting import rouge
from mmgen.evaluation.tasks.task import Subject
from mmgen.generate import Generator
from mmgen.models.seq2seq.config import RewriterConfig
from mmgen.models.seq2seq.model import Rewriter
from mmgen.models.seq2seq.pieces import UNKNOWN, Pieces
from mmgen.progress import Progress
from mmgen.recipes import get
from mmgen.training.config import TrainingConfig
from mmgen.training.loop import learn

DATA = DataConfig(name="emoji", languages=("en", "de"))


@pytest.fixture(scope="module")
def descriptions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("descriptions", tmp_path_factory.mktemp("descriptions"))


@pytest.fixture(scope="module")
def few(emoji: Path) -> Corpus:
    return load_corpus(emoji, "train").take(range(0, 3000, 130))


@pytest.fixture(scope="module")
def trained(few: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Rewriter:
    """A small one that has learned a handful by heart."""
    config = RewriterConfig(width=64, depth=1, heads=2, merges=150, batch=16, dropout=0.0)
    model = Rewriter.fit(config, few, DATA, generator(0))
    training = TrainingConfig(steps=250, lr=5e-3, warmup=5, threads=1, ema=0.8, sample_every=250, table_lr=2.0)
    learn(model, model.batches(few, 0), training, 0, tmp_path_factory.mktemp("texts"), Progress(), lambda step: None)
    return model.eval()


def test_texts_come_back_from_their_pieces(few: Corpus) -> None:
    texts = [text for language in DATA.languages for text in few.captions(language)]
    pieces = Pieces.fit(texts, DATA.languages, 200)

    assert [pieces.decode(pieces.encode(text, "de", 99)) for text in texts] == texts
    assert len(pieces.encode(texts[0], "en", 99)) < len(texts[0])
    assert pieces.encode("\u4e2d", "en", 9)[2] == UNKNOWN
    assert Pieces.fit(texts, DATA.languages, 200).pieces == pieces.pieces


def test_the_first_merge_is_the_most_frequent_pair() -> None:
    assert Pieces.fit(["aab aab aac", "xa"], ("en",), 2).merges == [("a", "a"), ("\u2581", "aa")]


def test_an_answer_does_not_look_ahead(few: Corpus) -> None:
    model = Rewriter.fit(RewriterConfig(width=32, depth=2, heads=2, merges=50), few, DATA, generator(0))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator(1))
    source_1S, target_1T = torch.tensor([[3, 9, 8, 7, 1]]), torch.tensor([[4, 10, 11, 12]])
    other_1T = torch.tensor([[4, 10, 11, 13]])

    first, second = (model._log_probabilities(source_1S, source_1S, x, None)[0] for x in (target_1T, other_1T))

    torch.testing.assert_close(first[:, :3], second[:, :3])
    assert not torch.allclose(first[:, 3], second[:, 3])
    torch.testing.assert_close(first.exp().sum(-1), torch.ones(1, 4), atol=1e-3, rtol=0)


def test_writing_piece_by_piece_gives_what_one_pass_gives(few: Corpus) -> None:
    model = Rewriter.fit(RewriterConfig(width=32, depth=2, heads=2, merges=50), few, DATA, generator(0))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator(1))
    source_2S, target_2T = torch.tensor([[3, 9, 8, 7, 1], [3, 9, 1, 0, 0]]), torch.tensor([[4, 10, 11], [4, 12, 13]])

    whole = model._log_probabilities(source_2S, source_2S, target_2T, None)[0]
    kept, parts = None, []
    for place in range(3):
        part, kept = model._log_probabilities(source_2S, source_2S, target_2T[:, place : place + 1], kept)
        parts.append(part)

    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-4, rtol=1e-4)


def test_a_handful_is_learned_in_both_directions(trained: Rewriter, few: Corpus) -> None:
    english, german = few.captions("en"), few.captions("de")

    there = trained.generate({"text": english}, "text", len(few), seed=0, options={"language": "de"})
    back = trained.generate({"text": german}, "text", len(few), seed=0, options={"source": "de", "language": "en"})

    assert np.mean([a == b for a, b in zip(there, german, strict=True)]) > 0.8
    assert np.mean([a == b for a, b in zip(back, english, strict=True)]) > 0.8


def test_an_unknown_language_and_a_single_one_are_refused(trained: Rewriter, few: Corpus) -> None:
    with pytest.raises(ConfigError, match=r"'fr'.*de"):
        Generator(trained).generate(text="red heart", to="text", language="fr")
    with pytest.raises(ConfigError, match="two"):
        Rewriter.fit(RewriterConfig(), few, DataConfig(name="emoji", languages=("en",)), generator(0))


def test_a_saved_one_answers_the_same(trained: Rewriter, few: Corpus, tmp_path: Path) -> None:
    models.save(trained, tmp_path)
    asked = {"text": few.captions("en")[:4]}

    answers = [model.generate(asked, "text", 4, seed=0, options={}) for model in (trained, models.load(tmp_path))]

    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("said", "wanted", "one", "longest"),
    [
        ("police killed the gunman", "police kill the gunman", 3 / 4, 3 / 4),  # Lin 2004, section 3
        ("the gunman kill police", "police kill the gunman", 1.0, 2 / 4),
        ("", "police", 0.0, 0.0),
        ("a a a", "a b", 2 / 5, 2 / 5),
    ],
)
def test_rouge_is_that_of_the_paper(said: str, wanted: str, one: float, longest: float) -> None:
    assert rouge(said, wanted) == pytest.approx((one, longest))


def test_descriptions_do_not_leak_and_are_prose(descriptions: Path) -> None:
    dataset = load(descriptions)
    files = {
        split: {sample.facts()["concept"].split(":")[0] for sample in dataset.split(split)} for split in source.SPLITS
    }
    synopses = [sample.facts()["captions"]["en"].lower() for split in source.SPLITS for sample in dataset.split(split)]

    assert not files["train"] & files["test"]
    assert not files["train"] & files["valid"]
    assert len(synopses) == len(set(synopses))
    assert not any(">>>" in sample.facts()["body"] for sample in dataset.split("train"))


def test_a_docstring_is_cut_into_synopsis_and_prose() -> None:
    code = '''
def area(side):
    """Return the area of a square.

    The `side` is squared, which needs :func:`pow`.
    All sides have the same length, so that one is enough to know.

    Parameters
    ----------
    side : float
    """
'''
    prose = "The side is squared, which needs pow. All sides have the same length, so that one is enough to know."

    assert list(source.described(code)) == [("area", "Return the area of a square", prose)]


def test_the_task_scores_translations_and_summaries(
    trained: Rewriter, emoji: Path, descriptions: Path, tmp_path: Path
) -> None:
    small = ["evaluation.seen=50", "evaluation.samples=20", "training.threads=1"]
    found = rewriting.evaluate(Subject(trained, tmp_path, emoji, get("translate", small), Progress()))

    assert set(rewriting.TRANSLATIONS) <= set(found.scores)
    assert np.mean(found.scores["text.exact_copy_concepts"]) < 0.3

    recipe = get("summarise", [*small, "model.merges=100", "model.width=32"])
    corpus = load_corpus(descriptions, "train").take(range(50))
    model = Rewriter.fit(recipe.model, corpus, recipe.data, generator(0)).eval()
    found = rewriting.evaluate(Subject(model, tmp_path, descriptions, recipe, Progress()))
    assert set(rewriting.SUMMARIES) <= set(found.scores)
    assert np.mean(found.scores["text.rougeL_lead_test"]) > 0.03
