"""The speaker: spelling, alignment, packing, learning, tiling."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.order import generator
from mmgen.errors import ConfigError, DataError
from mmgen.evaluation.metrics.cepstra import cepstral_distortion, warped
from mmgen.modalities.sound import RATE, log_mel
from mmgen.models import load, save
from mmgen.models.base import seeded
from mmgen.models.tts.alignment import align, longest_path
from mmgen.models.tts.config import SpeakerConfig
from mmgen.models.tts.layers import Row
from mmgen.models.tts.model import Speaker
from mmgen.models.tts.spelling import SYMBOLS, numbers, spell, words

SMALL = SpeakerConfig(width=32, depth=2, frame_width=32, frame_depth=2)


@pytest.fixture(scope="module")
def few(prompts: Path) -> Corpus:
    """Forty real clips of at least three words and at most four seconds."""
    train = load_corpus(prompts, "train")
    seconds = train.values("seconds")
    rows = [row for row, text in enumerate(train.captions("en")) if len(text.split()) > 2 and seconds[row] < 4]
    return train.take(rows[:40])


@pytest.fixture(scope="module")
def speaker(few: Corpus) -> Speaker:
    return Speaker.fit(SMALL, few, DataConfig(name="prompts"), generator(0, "model")).eval()


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Café 42!", "<cafe four two>"),
        ("press # or *", "<press pound or star>"),
        ("your party's name", "<your party's name>"),
    ],
)
def test_spelling(text: str, spoken: str) -> None:
    assert spell(text) == spoken
    assert words(text) == spoken[1:-1].split()
    assert [SYMBOLS[number] for number in numbers(spoken)] == list(spoken)


@pytest.mark.parametrize("text", ["...", "日本", ""])
def test_what_cannot_be_spoken_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="nothing that can be spoken"):
        spell(text)


def test_alignment_is_the_best_of_all_monotonic_ones() -> None:
    score = np.random.default_rng(0).normal(size=(7, 4))
    every = [cuts for cuts in itertools.product(range(1, 7), repeat=4) if sum(cuts) == 7]
    best = max(every, key=lambda cuts: score[np.arange(7), np.repeat(np.arange(4), cuts)].sum())
    assert tuple(longest_path(score)) == best


def test_alignment_finds_blocks_and_needs_a_frame_a_state() -> None:
    mean = torch.eye(3) * 3
    frames = torch.repeat_interleave(mean, torch.tensor([2, 5, 1]), 0)
    assert align(mean, frames).tolist() == [2, 5, 1]
    with pytest.raises(ValueError, match="2 frames cannot hold 3 states"):
        align(mean, frames[:2])


def test_clips_laid_end_to_end_do_not_touch() -> None:
    rng = generator("row")
    with seeded(rng):
        row = Row(8, 3, 5)
    for block in row.blocks:
        torch.nn.init.normal_(block.out.weight, generator=rng)
    x = torch.randn(13, 8, generator=rng)
    alone = torch.cat([row(part, [len(part)]) for part in x.split([6, 3, 4])])
    torch.testing.assert_close(row(x, [6, 3, 4]), alone)


def test_one_seed_one_model(few: Corpus, speaker: Speaker) -> None:
    again = Speaker.fit(SMALL, few, DataConfig(name="prompts"), generator(0, "model"))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in speaker.state_dict().items())


def test_loss_falls(few: Corpus) -> None:
    model = Speaker.fit(SMALL, few, DataConfig(name="prompts"), generator(1, "model"))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    batch = model.batches(few, 0).at(0)
    losses = []
    for step in range(16):
        loss = torch.stack([one(generator(step, name)) for name, one in model.objectives(batch).items()]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]


def test_halves_have_about_the_same_to_do(few: Corpus, speaker: Speaker) -> None:
    first, second = speaker.batches(few, 0).at(3)
    assert len(first.frames) + len(second.frames) == SMALL.clips
    assert abs(len(first.frame_TM) - len(second.frame_TM)) <= max(first.frames + second.frames)
    assert all(count % SMALL.stack == 0 for count in first.frames)


def test_saved_and_loaded_it_says_the_same(speaker: Speaker, few: Corpus, tmp_path: Path) -> None:
    save(speaker, tmp_path)
    again = load(tmp_path)
    text = [few.captions("en")[0]]
    for voice in ("tiled", "smooth"):
        first, second = (
            model.generate({"text": text}, "sound", 1, seed=0, options={"voice": voice})[0]
            for model in (speaker, again)
        )
        assert first.dtype == np.float32
        assert np.abs(first).max() <= 1
        assert len(first) > RATE / 4
        assert np.array_equal(first, second)


def test_a_sentence_of_training_is_one_piece(speaker: Speaker, few: Corpus) -> None:
    text = max(few.captions("en"), key=len)
    said = speaker.say(text, "tiled")
    assert said.piece_S.max() <= 2
    assert len(said.frame_TM) == said.duration_S.sum()
    bank = speaker.bank()[0]
    real = bank.frame_TM * speaker.scale_M.numpy() + speaker.mean_M.numpy()
    middle = said.frame_TM[len(said.frame_TM) // 2]
    assert np.abs(real - middle).max(1).min() < 1e-3  # a frame of a clip, not a mean of many


def test_letters_that_training_lacks_are_predicted(speaker: Speaker) -> None:
    lacking = next(letter for letter in "zxqjv" if all(letter not in text for text in speaker.texts))
    said = speaker.say(f"please {lacking}", "tiled")
    assert said.piece_S[-2] > said.piece_S[-3]
    assert np.isfinite(said.frame_TM).all()


def test_unknown_words_and_voices(speaker: Speaker) -> None:
    known = speaker.texts[0][1:-1].split()[0]
    assert speaker.unknown_words(f"{known} {known}zzz") == {f"{known}zzz": known}
    with pytest.raises(ConfigError, match="unknown voice 'loud'"):
        speaker.generate({"text": ["hello"]}, "sound", 1, seed=0, options={"voice": "loud"})


def test_preview_has_sounds_and_an_alignment(speaker: Speaker, few: Corpus) -> None:
    examples = speaker.preview(few.take([0, 1]), 0)
    assert [list(example.media) for example in examples] == [["real", "made", "alignment"]] * 2
    assert examples[0].media["alignment"].dtype == np.uint8


@pytest.mark.parametrize("wrong", [{"kernel": 4}, {"clips": 1}, {"voice": "loud"}, {"dropout": 1.0}, {"states": 0}])
def test_settings_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"model.{next(iter(wrong))}"):
        SpeakerConfig(**wrong)


def test_distortion_forgives_timing_only(few: Corpus) -> None:
    first, second = (log_mel(clip) for clip in few.sounds()[:2])
    assert cepstral_distortion(first, first) == pytest.approx(0, abs=1e-5)
    assert cepstral_distortion(np.repeat(first, 2, 0), first) == pytest.approx(0, abs=1e-5)
    assert cepstral_distortion(first + 1, first) == pytest.approx(0, abs=1e-4)  # only louder
    assert cepstral_distortion(first, second) > 3


def test_warping_finds_the_least_sum() -> None:
    distance = np.random.default_rng(1).uniform(size=(4, 3))

    def least(row: int, column: int) -> float:
        if row == column == 0:
            return float(distance[0, 0])
        before = [(row - 1, column - 1), (row - 1, column), (row, column - 1)]
        return float(distance[row, column]) + min(least(*cell) for cell in before if min(cell) >= 0)

    assert warped(distance)[0] == pytest.approx(least(3, 2))
