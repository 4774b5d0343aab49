"""Clips: the data moves as its captions say, known frames stay, the rules that judge motion can tell it."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from mmgen import models
from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.dataset import load
from mmgen.data.order import generator
from mmgen.data.sources import moving as source
from mmgen.data.sources.packages import fetch
from mmgen.errors import ConfigError, DataError
from mmgen.evaluation.judges import frame_judge
from mmgen.evaluation.tasks import motion
from mmgen.evaluation.tasks.task import Subject
from mmgen.generate import Generator
from mmgen.models.video.config import ClipsConfig
from mmgen.models.video.model import Clips
from mmgen.progress import Progress
from mmgen.recipes import get
from mmgen.training.config import TrainingConfig
from mmgen.training.loop import learn


@pytest.fixture(scope="module")
def corpus(moving: Path) -> Corpus:
    whole = load_corpus(moving, "train")
    return whole.take(range(0, len(whole), 25))


@pytest.fixture(scope="module")
def trained(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """A small one after 60 steps."""
    model = Clips.fit(
        ClipsConfig(width=16, depth=1, batch=16, steps=2), corpus, DataConfig(name="moving"), generator(0)
    )
    training = TrainingConfig(steps=60, lr=3e-3, warmup=5, threads=1, ema=0.8, sample_every=60)
    learn(model, model.batches(corpus, 0), training, 0, tmp_path_factory.mktemp("clips"), Progress(), lambda step: None)
    return model.eval()


def test_clips_are_made_of_the_same_bytes_again(moving: Path) -> None:
    dataset = load(moving)
    built = {sample.key: sample.parts for split in dataset.card.splits for sample in dataset.split(split)}

    again = list(itertools.islice(source.samples({name: fetch(name) for name in source.PACKAGES}), 30))

    assert all(built[sample.key] == sample.parts for _, sample in again)


def test_no_pair_of_thing_and_direction_is_in_training_and_in_compositions(moving: Path) -> None:
    def pairs(split: str) -> set[tuple[str, str]]:
        corpus = load_corpus(moving, split)
        return set(zip(corpus.concepts, corpus.values("direction"), strict=True))

    assert not pairs("train") & pairs("compositions")
    assert {name for name, _ in pairs("compositions")} <= {name for name, _ in pairs("train")}
    assert len(pairs("compositions")) > 10


def test_a_thing_bounces_and_keeps_its_pixels() -> None:
    thing = np.full((16, 16, 3), 200, np.uint8)

    clip = source.moved(thing, (10, 4), "right", "quickly")

    left = [int(frame.any((0, 2)).argmax()) for frame in clip]
    assert left == [10, 12, 14, 16, 14, 12, 10, 8, 6, 4, 2, 0]
    assert all(frame.sum() == thing.sum(dtype=np.int64) for frame in clip.astype(np.int64))


def test_the_rules_tell_direction_and_speed_of_real_clips_and_of_none(moving: Path) -> None:
    test = load_corpus(moving, "test")

    assert [motion.direction(clip) for clip in test.videos()] == test.values("direction")
    assert [motion.speed(clip) for clip in test.videos()] == test.values("speed")
    assert motion.direction(np.repeat(test.videos()[0][:1], 12, 0)) == ""


def test_ssim_is_that_of_torchmetrics(corpus: Corpus) -> None:
    from torchmetrics.functional.image import structural_similarity_index_measure as theirs

    a, b = (clip[0] for clip in corpus.videos()[:2])
    # The mean over the middle: at the edges the two pad differently.
    first, second = (torch.from_numpy(x).permute(2, 0, 1)[None].double() / 255 for x in (a, b))
    _, full = theirs(first, second, data_range=1.0, return_full_image=True)

    assert motion.ssim(a, b) == pytest.approx(float(full.mean()), abs=0.02)
    assert motion.ssim(a, a) == pytest.approx(1)


def test_given_frames_stay_and_the_next_picture_is_the_clip_s(trained: Clips, corpus: Corpus) -> None:
    begun = corpus.videos()[0][:6]
    ask = Generator(trained)

    clip = ask.generate(video=begun, to="video")[0]

    assert clip.shape == (12, 32, 32, 3)
    assert np.array_equal(clip[:6], begun)
    assert np.array_equal(ask.generate(video=begun, to="image")[0], clip[6])
    assert np.array_equal(ask.generate(image=begun[0], to="video")[0][0], begun[0])


def test_what_is_drawn_depends_on_words_place_and_seed(trained: Clips) -> None:
    ask = Generator(trained)

    two = ask.generate(text="seven moves left slowly", to="video", n=2, seed=3)

    assert np.array_equal(ask.generate(text="seven moves left slowly", to="video", n=1, seed=3)[0], two[0])
    assert not np.array_equal(two[0], two[1])
    assert not np.array_equal(ask.generate(text="heart moves up quickly", to="video", n=1, seed=3)[0], two[0])
    assert ask.unknown_words("sevn moves left slowly") == {"sevn": "seven"}


def test_training_predicts_better_than_an_untrained_net(trained: Clips, moving: Path) -> None:
    test = load_corpus(moving, "test").take(range(0, 300, 15))
    fresh = Clips.fit(trained.config, test, DataConfig(name="moving"), generator(0))
    begun = [clip[:6] for clip in test.videos()]

    def error(model: Clips) -> float:
        made = model.generate({"video": begun}, "video", len(begun), seed=0, options={"steps": 1})
        return float(np.mean(motion._against(made, test.videos(), 6)["mse"]))

    assert error(trained) < 0.9 * error(fresh)


def test_a_short_video_and_a_wrong_config_are_refused(trained: Clips, corpus: Corpus) -> None:
    with pytest.raises(DataError, match="at least 6"):
        Generator(trained).generate(video=corpus.videos()[0][:3], to="video")
    with pytest.raises(ConfigError, match="given"):
        ClipsConfig(given=12)


def test_a_saved_one_is_the_same(trained: Clips, tmp_path: Path) -> None:
    models.save(trained, tmp_path)

    again = models.load(tmp_path)

    clips = [
        model.generate({"text": ["one moves up slowly"]}, "video", 1, seed=0, options={}) for model in (trained, again)
    ]
    assert np.array_equal(clips[0][0], clips[1][0])


def test_the_task_scores_prediction_and_drawing(trained: Clips, moving: Path, tmp_path: Path) -> None:
    recipe = get("moving", ["size=small", "judge.steps=30", "judge.width=8", "evaluation.samples=24"])
    frame_judge.train_judge(moving, recipe, tmp_path, tmp_path / "scratch", Progress())

    found = motion.evaluate(Subject(trained, tmp_path, moving, recipe, Progress()))

    assert set(motion.HEADLINE) <= set(found.scores) | set(found.metrics)
    assert np.mean(found.scores["rule.direction_test"]) == 1
    assert found.metrics["frame.mse_ratio"]["value"] == pytest.approx(
        np.mean(found.scores["frame.mse_test"]) / np.mean(found.scores["frame.mse_copy_test"])
    )
    assert len(found.sections) == 6
