"""Tunes: what can be asked for, what the model learns, and what the task says of tunes that we know."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mmgen import models
from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.order import generator
from mmgen.errors import DataError
from mmgen.evaluation.tasks import tunes as task
from mmgen.evaluation.tasks.task import Subject
from mmgen.generate import Generator
from mmgen.modalities.music import Tune, read
from mmgen.models.abc.config import MelodyConfig
from mmgen.models.abc.header import Header, fitting
from mmgen.models.abc.model import Melody, _mended, readable, split
from mmgen.progress import Progress
from mmgen.recipes import get
from mmgen.training.config import TrainingConfig
from mmgen.training.loop import learn

SMALL = MelodyConfig(width=32, depth=1, heads=2, batch=8, tries=2)


@pytest.fixture(scope="module")
def corpus(tunes: Path) -> Corpus:
    return load_corpus(tunes, "train").take(range(0, 800, 20))


@pytest.fixture(scope="module")
def trained(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Melody:
    model = Melody.fit(SMALL, corpus, DataConfig(name="tunes"), generator(0))
    config = TrainingConfig(steps=40, lr=5e-3, warmup=5, threads=1, table_lr=1.0, ema=0.9, sample_every=40)
    learn(model, model.batches(corpus, 0), config, 0, tmp_path_factory.mktemp("m"), Progress(), lambda step: None)
    return model.eval()


KNOWN = [
    Header("jig", "6/8", "D"),
    Header("jig", "6/8", "G"),
    Header("slip jig", "9/8", "G"),
    Header("reel", "2/2", "F#m"),
]


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        ("a jig in D major, 6/8", [KNOWN[0]]),
        ("a jig", KNOWN[:2]),
        ("slip jig", [KNOWN[2]]),
        ("F sharp minor", [KNOWN[3]]),
        ("something in 6/8", KNOWN[:2]),
        ("a reel in G major", [Header("reel", "2/2", "G")]),
    ],
)
def test_a_request_leaves_open_what_it_does_not_say(request_: str, found: list[Header]) -> None:
    assert fitting(request_, KNOWN) == found


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ("a waltz", "asks for nothing known"),
        ("a jig in 5/4", "unknown metre '5/4'"),
        ("a jig in C major", "unknown key 'C major'"),
        ("a reel, 6/8", "ask for another metre"),
    ],
)
def test_what_no_tune_has_is_said_in_one_line(request_: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        fitting(request_, KNOWN)


def test_a_tune_survives_being_numbered(corpus: Corpus) -> None:
    model = Melody.fit(SMALL, corpus, DataConfig(), generator(0))
    header, body = split(corpus.tunes()[3])

    symbols = [model.symbols[number] for number in model.encode(header, body)]

    assert symbols[:4] == ["<start>", f"<{header.kind}>", f"<{header.metre}>", f"<K:{header.key}>"]
    assert "".join(symbols[4:-1]) == body
    assert symbols[-1] == "<end>"


def test_a_character_is_predicted_from_those_before_it_alone(trained: Melody, corpus: Corpus) -> None:
    row = torch.tensor([trained.encode(*split(corpus.tunes()[0]))])
    later = row.clone()
    later[:, 30:] = 5

    before, after = (trained._logits(tokens, None)[0][:, :30] for tokens in (row, later))

    torch.testing.assert_close(before, after)


def test_training_lowers_the_nats_of_other_tunes_and_kept_keys_change_nothing(trained: Melody, tunes: Path) -> None:
    other = load_corpus(tunes, "test").tunes()[0]
    untrained = Melody.fit(SMALL, load_corpus(tunes, "train").take(range(0, 800, 20)), DataConfig(), generator(0))

    total, count = trained.nats(other)

    assert total / count < untrained.nats(other)[0] / count - 0.5
    assert untrained.nats(other)[0] / count == pytest.approx(math.log(len(untrained.symbols)), abs=0.6)
    row = torch.tensor([trained.encode(*split(other))[:20]])
    whole, _ = trained._logits(row, None)
    kept, found = None, []
    for place in range(20):
        logits, kept = trained._logits(row[:, place : place + 1], kept)
        found.append(logits)
    torch.testing.assert_close(torch.cat(found, 1), whole, atol=1e-4, rtol=1e-4)


def test_a_saved_model_composes_the_same_tunes_that_can_be_read(trained: Melody, tmp_path: Path) -> None:
    models.save(trained, tmp_path)

    first, again = (
        Generator(made).generate(text="a jig", to="music", n=2, seed=4) for made in (trained, models.load(tmp_path))
    )

    assert first == again
    assert all(tune.header("R") == "jig" for tune in first)
    assert all(tune.score for tune in first)
    bodies = trained.compose([KNOWN[0]] * 2, ["", ""], 4, 1, 1.0)
    assert bodies[0] != bodies[1]


def test_a_tune_that_cannot_be_read_is_cut_to_what_can(corpus: Corpus) -> None:
    whole = corpus.tunes()[2]
    spoilt = Tune(whole.abc[: len(whole.abc) * 2 // 3] + " ?? [[ |")

    mended = _mended(spoilt)

    assert not readable(spoilt)
    assert read((mended.abc + "\n").encode(), "mended").score.events
    assert whole.abc.startswith(mended.abc.rsplit("|", 1)[0].rstrip()[: len(mended.abc) // 2])


def test_real_tunes_obey_and_nonsense_does_not(tunes: Path) -> None:
    test = load_corpus(tunes, "test")

    real = [task.keeps_key(tune) for tune in test.tunes()]

    assert np.mean(real) > 0.85
    assert all(readable(tune) for tune in test.tunes())
    assert not task.keeps_key(Tune("X:1\nM:4/4\nL:1/4\nK:C\n^C^D^F^G|^A^C^D^F|]"))
    assert not readable(Tune("X:1\nM:4/4\nL:1/4\nK:C\nCCCC|CCCCC|CCCC|CCCC|]"))


def test_the_task_measures_likelihood_and_memory(trained: Melody, tunes: Path, tmp_path: Path) -> None:
    (tmp_path / "judge.json").write_text('{"measure": "none"}')
    recipe = get("tunes", ["evaluation.samples=20"])

    found = task.evaluate(Subject(trained, tmp_path, tunes, recipe, Progress()))

    assert len(found.scores["nll.character"]) == 20
    assert 1 < np.mean(found.scores["nll.character"]) < 4
    assert {section.name for section in found.sections} == {"composed", "continued"}
