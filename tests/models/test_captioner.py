"""Show and Tell: what the captioner promises."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.order import generator
from mmgen.errors import ConfigError
from mmgen.generate import Generator
from mmgen.models.anyto.vocabulary import PAD
from mmgen.models.captioner.config import ShowTellConfig
from mmgen.models.captioner.model import Batch, ShowTell
from mmgen.progress import Progress
from mmgen.training.config import TrainingConfig
from mmgen.training.loop import learn

SMALL = ShowTellConfig(image_px=32, channels=32, word_width=32, width=64, place_width=16, batch=16)


@pytest.fixture(scope="module")
def corpus(tiny_emoji: Path) -> Corpus:
    return load_corpus(tiny_emoji, "train")


def fitted(corpus: Corpus, config: ShowTellConfig = SMALL, languages: tuple[str, ...] = ("en",)) -> ShowTell:
    return ShowTell.fit(config, corpus, DataConfig(languages=languages), generator(0, "fit"))


def trained(corpus: Corpus, folder: Path, steps: int, lr: float = 4e-3) -> ShowTell:
    folder.mkdir(exist_ok=True)
    model = fitted(corpus)
    config = TrainingConfig(steps=steps, lr=lr, threads=1, warmup=10, ema=0.9, sample_every=steps)
    learn(model, model.batches(corpus, 0), config, 0, folder, Progress(), lambda step: None)
    return model


@pytest.fixture(scope="module")
def knows(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> ShowTell:
    """A captioner that has learned a few captions by heart."""
    return trained(corpus.take(range(16)), tmp_path_factory.mktemp("knows"), 120)


def test_a_few_captions_are_learned_by_heart_from_the_pictures(knows: ShowTell, corpus: Corpus) -> None:
    few = corpus.take(range(16))

    said = knows.generate({"image": few.images(32)}, "text", 16, seed=0, options={})

    assert sum(text == caption for text, caption in zip(said, few.captions("en"), strict=True)) >= 14


def test_same_seed_same_weights_and_another_seed_others(corpus: Corpus, tmp_path: Path) -> None:
    first, second = (trained(corpus, tmp_path / name, 3).state_dict() for name in ("a", "b"))

    other = ShowTell.fit(SMALL, corpus, DataConfig(), generator(1, "fit")).state_dict()

    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["lstm.weight_ih_l0"], other["lstm.weight_ih_l0"])


def test_the_halves_add_up_to_the_mean_over_the_words_of_the_batch(corpus: Corpus) -> None:
    model = fitted(corpus, dataclasses.replace(SMALL, noise=0.0))
    batch = model.batches(corpus, 0).at(0)
    words = int((batch.words_BT[:, 1:] != PAD).sum())

    halves = sum(loss(generator(0)).item() for loss in model.objectives(batch).values())
    whole = 0.0
    for row in range(len(batch.words_BT)):
        alone = Batch(batch.x_B3SS[[row, row]], batch.words_BT[[row, row]])
        count = int((alone.words_BT[0, 1:] != PAD).sum())
        whole += model.objectives(alone)["first_half"](generator(0)).item() * 2 * count

    assert halves == pytest.approx(whole / words, rel=1e-4)


def test_said_word_by_word_as_all_at_once(corpus: Corpus) -> None:
    model = fitted(corpus)
    x_B3SS = torch.rand(2, 3, 32, 32, generator=generator(1)) * 2 - 1
    words_BT = torch.randint(3, len(model.vocabulary), (2, 5), generator=generator(2))
    features = model.encoder(x_B3SS)

    together, _, _ = model._say(words_BT, features, model._begin(features))
    state, alone = model._begin(features), []
    for place in range(5):
        out, state, _ = model._say(words_BT[:, place : place + 1], features, state)
        alone.append(out)

    torch.testing.assert_close(torch.cat(alone, 1), together, atol=1e-5, rtol=1e-4)


def test_attention_is_a_distribution_over_the_picture_for_every_word(knows: ShowTell, corpus: Corpus) -> None:
    pictures = corpus.images(32)[:8]

    looked = knows.attention(pictures)

    said = knows.generate({"image": pictures}, "text", 8, seed=0, options={})
    for (words, maps), text in zip(looked, said, strict=True):
        assert maps.shape == (len(words), 4, 4)
        assert maps.sum((1, 2)) == pytest.approx(1.0, abs=1e-4)
        assert "".join(words) == text.replace(" ", "")


def test_languages_are_told_apart_and_a_foreign_one_is_refused(corpus: Corpus) -> None:
    model = fitted(corpus, languages=("en", "de"))
    batch = model.batches(corpus, 0).at(0)

    starts = {model.vocabulary.start(language) for language in ("en", "de")}

    assert set(batch.words_BT[:, 0].tolist()) == starts
    with pytest.raises(ConfigError, match="unknown language 'xx'"):
        Generator(model).generate(image=corpus.images(32)[0], to="text", language="xx")


def test_a_saved_captioner_says_the_same(knows: ShowTell, corpus: Corpus) -> None:
    again = ShowTell.from_facts(knows.facts())
    again.load_state_dict(knows.state_dict())
    picture = corpus.images(64)[3]  # of another size than it learned

    assert Generator(again).generate(image=picture, to="text") == Generator(knows).generate(image=picture, to="text")


def test_sizes_that_cannot_work_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"model\.image_px must be a multiple of 8 between 16 and 256, got 30"):
        ShowTellConfig(image_px=30)
