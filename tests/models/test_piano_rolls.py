"""Chords one by one: probabilities of all chords add up to 1, nothing looks ahead, pieces go on where they were."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mmgen import models
from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.order import generator
from mmgen.data.sources.build import build
from mmgen.errors import ConfigError, DataError
from mmgen.evaluation.tasks import rolls as task
from mmgen.evaluation.tasks.task import Subject
from mmgen.generate import Generator
from mmgen.modalities.music import frames, from_frames
from mmgen.models.piano_rolls import model as rolls
from mmgen.models.piano_rolls.config import RollsConfig
from mmgen.models.piano_rolls.model import Rolls, encoded
from mmgen.progress import Progress
from mmgen.recipes import get
from mmgen.training.config import TrainingConfig
from mmgen.training.loop import learn

SMALL = RollsConfig(width=32, depth=2, heads=2, batch=4, frames=12)


@pytest.fixture(scope="module")
def chorales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("chorales", tmp_path_factory.mktemp("chorales"))


@pytest.fixture(scope="module")
def corpus(chorales: Path) -> Corpus:
    return load_corpus(chorales, "train").take(range(40))


def loud(seed: int) -> Rolls:
    """With weights that make every symbol count."""
    model = Rolls.fit(SMALL, None, DataConfig(name="chorales"), generator(0))  # type: ignore[arg-type]
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator(seed))
    return model.eval()


@pytest.fixture(scope="module")
def trained(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Rolls:
    """A small one after 120 steps."""
    model = Rolls.fit(SMALL, corpus, DataConfig(name="chorales"), generator(0))
    training = TrainingConfig(steps=120, lr=5e-3, warmup=5, threads=1, ema=0.8, sample_every=120)
    learn(model, model.batches(corpus, 0), training, 0, tmp_path_factory.mktemp("rolls"), Progress(), lambda step: None)
    return model.eval()


@torch.no_grad()
def test_the_probabilities_of_all_chords_of_a_frame_add_up_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolls, "_LOWEST", 60)
    monkeypatch.setattr(rolls, "_HIGHEST", 64)
    model = loud(1)
    before = [(64, 60), (62,)]
    base = encoded([before], SMALL)

    def nats(piece: list[tuple[int, ...]]) -> float:
        batch = encoded([piece], SMALL)
        return float(model._nats(batch, batch.notes_BT).sum())

    chords = [c for size in range(6) for c in itertools.combinations(range(64, 59, -1), size)]
    total = sum(math.exp(float(model._nats(base, base.notes_BT).sum()) - nats([*before, chord])) for chord in chords)

    assert len(chords) == 32
    assert total == pytest.approx(1, abs=1e-4)


def test_a_note_does_not_look_ahead() -> None:
    model = loud(2)
    one, two = (encoded([[(60, 55), (62, 57), last]], SMALL) for last in ((64, 60), (69, 40)))

    first, second = (model._nats(batch, batch.notes_BT)[0] for batch in (one, two))

    torch.testing.assert_close(first[:6], second[:6])
    assert not torch.allclose(first[6:], second[6:])


@torch.no_grad()
def test_composing_note_by_note_draws_what_one_pass_predicts() -> None:
    """With a temperature near 0 each drawn note is the likeliest of a pass over the whole piece."""
    model = loud(3)

    piece = model._composed([[64, 60]], 5, generator(0), 1e-4)

    batch = encoded([piece], SMALL)
    for place in range(4, batch.notes_BT.shape[1]):
        before = batch.notes_BT[:, :place]
        allowed = torch.ones(place, place, dtype=torch.bool).tril()[None, None]
        x, _ = model.trunk(model._read(before, batch.frame_BT[:, :place], batch.slot_BT[:, :place]), allowed)
        likeliest = int(model._possible(model.write(x), before)[0, -1].argmax())
        chord_full = int(batch.slot_BT[0, place - 1]) == SMALL.voices
        assert likeliest == int(batch.notes_BT[0, place]) or chord_full


def test_training_lowers_the_nats_of_held_out_pieces(trained: Rolls, chorales: Path) -> None:
    test = load_corpus(chorales, "test").take(range(12))
    fresh = Rolls.fit(SMALL, test, DataConfig(name="chorales"), generator(0))

    def per_frame(model: Rolls) -> float:
        nats = [model.nats(tune) for tune in test.tunes()]
        return sum(total for total, _ in nats) / sum(count for _, count in nats)

    assert per_frame(trained) < 0.75 * per_frame(fresh)


def test_a_begun_piece_goes_on_and_the_same_seed_gives_the_same(trained: Rolls, corpus: Corpus) -> None:
    begun = from_frames(frames(corpus.tunes()[0])[:8], title="Begun")
    ask = Generator(trained)

    made = ask.generate(music=begun, to="music", n=2, seed=4)

    assert frames(made[0])[:8] == frames(begun)
    assert len(frames(made[0])) == 12
    assert made[0] != made[1]
    assert ask.generate(music=begun, to="music", n=1, seed=4)[0] == made[0]
    with pytest.raises(DataError, match="frames=12"):
        ask.generate(music=corpus.tunes()[0], to="music")
    with pytest.raises(ConfigError, match="max_frames"):
        RollsConfig(frames=200)


def test_a_key_does_not_matter_for_shapes(corpus: Corpus) -> None:
    tune = corpus.tunes()[0]
    higher = from_frames([[pitch + 3 for pitch in chord] for chord in frames(tune)], title="Higher")

    assert task.shapes(higher, 4) == task.shapes(tune, 4)


def test_a_saved_one_has_the_same_nats(trained: Rolls, corpus: Corpus, tmp_path: Path) -> None:
    models.save(trained, tmp_path)

    assert models.load(tmp_path).nats(corpus.tunes()[0]) == trained.nats(corpus.tunes()[0])


def test_the_task_gives_nats_a_frame(
    trained: Rolls, chorales: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "MADE", 4)
    small = models.model_class("rolls").from_facts(trained.facts())
    small.load_state_dict(trained.state_dict())
    monkeypatch.setattr(small, "config", RollsConfig(width=32, depth=2, heads=2, batch=4, frames=20))

    found = task.evaluate(Subject(small.eval(), tmp_path, chorales, get("chorales", ["size=small"]), Progress()))

    nats = [trained.nats(tune) for tune in load_corpus(chorales, "test").tunes()]
    assert set(found.scores) == set(task.HEADLINE)
    assert np.mean(found.scores["nll.frame"]) == pytest.approx(sum(t for t, _ in nats) / sum(n for _, n in nats))
    assert np.mean(found.scores["chords.known_real"]) > 0.9
