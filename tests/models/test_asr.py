"""The recogniser: its search finds likely texts, its loss falls, its scores are the field's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.order import generator
from mmgen.errors import ConfigError, DataError
from mmgen.evaluation.tasks.transcripts import rates, trace
from mmgen.modalities.sound import BANDS, RATE, Sound, log_mel
from mmgen.models.asr.batches import ListenerBatches, altered, joined
from mmgen.models.asr.config import ListenerConfig
from mmgen.models.asr.model import Listener, masked
from mmgen.models.asr.search import CHARACTERS, NGram, beam_search, greedy

SMALL = ListenerConfig(width=32, convolutions=2, clips=4, dropout=0.1)
TEXTS = ["press one", "press two", "thank you", "please try again"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small lose more by waiting for a second thread than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def path(text: str, sure: float = 0.9) -> NDArray[np.float32]:
    """Log probabilities of a network that is fairly sure of a path; `_` is the blank."""
    rows = np.full((len(text), len(CHARACTERS) + 1), (1 - sure) / len(CHARACTERS))
    for step, character in enumerate(text):
        rows[step, 0 if character == "_" else CHARACTERS.index(character) + 1] = sure
    return np.log(rows).astype(np.float32)


def test_paths_become_texts_by_the_rule() -> None:
    ngram = NGram(TEXTS, 4)

    for steps, text in (("_pp_r_eess_s_", "press"), ("_a__a_", "aa"), ("aaa", "a"), ("___", ""), (" _a b ", "a b")):
        assert greedy(path(steps)) == text
        assert beam_search(path(steps), ngram, beam=8, weight=0.0, bonus=0.0) == text


def test_the_search_adds_up_the_paths_of_a_text() -> None:
    # The likeliest path is blank, blank (0.36), but "a" has three paths: 0.24 + 0.24 + 0.16.
    rows = np.full((2, len(CHARACTERS) + 1), 1e-9)
    rows[:, 0], rows[:, CHARACTERS.index("a") + 1] = 0.6, 0.4
    log_TK = np.log(rows).astype(np.float32)

    assert greedy(log_TK) == ""
    assert beam_search(log_TK, NGram(TEXTS, 2), beam=8, weight=0.0, bonus=0.0) == "a"


def test_the_ngram_is_a_distribution_and_mends_what_was_misheard() -> None:
    ngram = NGram(TEXTS, 5)

    for before in ("", "press ", "zzz", "than"):
        assert math.isclose(sum(math.exp(ngram.log(before, c)) for c in (*CHARACTERS, "$")), 1, rel_tol=1e-9)
    misheard = path("_thank you_")
    misheard[[3, 4]] = path("mm")[0]
    misheard[3, CHARACTERS.index("n") + 1] = math.log(0.05)
    assert greedy(misheard) == "thmk you"
    assert beam_search(misheard, ngram, beam=16, weight=1.0, bonus=1.0) == "thank you"


def speech(seconds: float) -> Sound:
    rng = np.random.default_rng(int(seconds * 100))
    return (0.1 * rng.standard_normal(int(seconds * RATE))).astype(np.float32)


def test_joined_rows_hold_every_clip_once_and_little_else() -> None:
    clips = [(torch.zeros(frames, BANDS), f"t{frames}") for frames in (50, 60, 300, 80, 40, 200, 90)]

    rows = joined(clips, shortest=100)

    assert sorted(text for _, row in rows for text in row.split()) == sorted(text for _, text in clips)
    assert all(len(mel) <= 300 for mel, _ in rows)
    assert sum(len(mel) for mel, _ in rows) > 0.8 * 300 * len(rows)


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    mels = [log_mel(speech(seconds)) for seconds in (0.5, 0.8, 1.1, 0.6)]
    first, again, other = (ListenerBatches(mels, TEXTS, SMALL, seed) for seed in (0, 0, 1))

    again.at(4)
    for one, two in zip(first.at(3), again.at(3), strict=True):
        assert torch.equal(one.mel_BTM, two.mel_BTM)
        assert one.texts == two.texts
    assert not torch.equal(first.at(3)[0].mel_BTM[0, :20], other.at(3)[0].mel_BTM[0, :20])


def test_augmentation_changes_length_and_values_within_its_bounds() -> None:
    mel_TM = torch.from_numpy(log_mel(speech(1.0)))
    lengths = set()
    for step in range(30):
        again_TM = altered(mel_TM, ListenerConfig(speed=0.2), generator("augment", step))
        lengths.add(len(again_TM))
        assert again_TM.shape[1] == BANDS
        assert torch.isfinite(again_TM).all()
    assert min(lengths) >= 101 / 1.2 - 1
    assert max(lengths) <= 101 / 0.8 + 1
    assert len(lengths) > 10
    hidden = masked(torch.ones(2, 300, BANDS), ListenerConfig(), generator("mask"))
    assert 0.6 < float(hidden.mean()) < 1


@pytest.fixture(scope="module")
def splits(prompts: Path) -> dict[str, Corpus]:
    return {split: load_corpus(prompts, split) for split in ("train", "test")}


@pytest.fixture(scope="module")
def few(splits: dict[str, Corpus]) -> Corpus:
    train = splits["train"]
    short = [row for row, seconds in enumerate(train.values("seconds")) if seconds < 1.2]
    return train.take(short[:4])


def test_loss_falls_on_real_clips(few: Corpus) -> None:
    config = ListenerConfig(width=48, convolutions=1, clips=4, dropout=0.0, band_masks=0, time_masks=0, noise=0)
    model = Listener.fit(config, few, DataConfig(name="prompts"), generator(0, "init"))
    batches = model.batches(few, 0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3)
    losses = []
    for step in range(30):
        optimiser.zero_grad()
        parts = model.objectives(batches.at(step))
        assert set(parts) == {"first", "second"}
        loss = torch.stack([part(generator(0, name, step)) for name, part in parts.items()]).sum()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())

    assert losses[-1] < 0.5 * losses[0]


def test_what_is_heard_depends_on_the_sound_alone(few: Corpus) -> None:
    model = Listener.fit(SMALL, few, DataConfig(name="prompts"), generator(0, "init")).eval()
    clips = few.sounds()

    heard = model.generate({"sound": clips}, "text", len(clips), seed=0, options={})

    assert heard[::-1] == model.generate({"sound": clips[::-1]}, "text", len(clips), seed=9, options={})


def test_a_model_is_rebuilt_from_its_facts(few: Corpus) -> None:
    model, same = (Listener.fit(SMALL, few, DataConfig(name="prompts"), generator(0, "init")).eval() for _ in range(2))
    again = Listener.from_facts(model.facts()).eval()
    again.load_state_dict(model.state_dict())

    clip = few.sounds()[0]
    assert np.array_equal(model.posteriors(clip), again.posteriors(clip))
    assert np.array_equal(model.posteriors(clip), same.posteriors(clip))
    assert model.pairs() == (("sound", "text"),)
    assert [example.title for example in model.preview(few, 0)] == few.captions("en")


def test_a_trace_has_a_row_for_each_character(few: Corpus) -> None:
    clip = few.sounds()[0]
    model = Listener.fit(SMALL, few, DataConfig(name="prompts"), generator(0, "init")).eval()

    picture = trace(clip, model.posteriors(clip), model.margin_seconds)

    assert picture.dtype == np.uint8
    assert picture.shape[0] > 2 * BANDS + 9 * len(CHARACTERS)


def test_the_mean_of_the_prompts_scores_is_the_rate_of_all() -> None:
    assert math.isclose(float(np.mean(rates([1, 3], ["ab", "abcdef"]))), 4 / 8)


def test_a_transcript_with_a_strange_character_is_refused(splits: dict[str, Corpus]) -> None:
    few = splits["train"].take([0, 1])
    model = Listener.fit(SMALL, few, DataConfig(name="prompts"), generator(0, "init"))
    few.facts[1]["captions"]["en"] = "press 1"

    with pytest.raises(DataError, match="character '1'"):
        model.batches(few, 0)


@pytest.mark.parametrize("wrong", [{"stride": 5}, {"clips": 0}, {"dropout": 1.0}, {"speed": 0.5}, {"beam": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{next(iter(wrong))} must"):
        ListenerConfig(**wrong)  # type: ignore[arg-type]
