"""Clips: one net that predicts a video, starts it from a picture, draws it from a caption.

Masked conditional generation (MCVD, Voleti et al. 2022, arXiv:2205.09853): in every step of training some frames are
given, the others are noise; which, and whether the caption is told, is drawn anew for each clip. So one net learns to
predict (the first half is given), to animate a picture (the first frame), to draw from words (nothing), and mixtures.
Unlike MCVD the path is rectified flow (Liu et al. 2022, arXiv:2209.03003), z_t = t x + (1 - t) noise, and the net says
the clean frames (arXiv:2511.13720), which a few Euler steps then reach.

A step's batch is learned in two halves, one on each core; their mean is the loss.

Shapes here: B clips, T frames, S side in pixels, W words, K channels of the condition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus
from mmgen.data.order import Order, generator
from mmgen.errors import DataError
from mmgen.examples import Example, spread
from mmgen.modalities.image import from_tensor, resize, to_tensor
from mmgen.modalities.video import Video
from mmgen.models.anyto.vocabulary import PAD, Vocabulary
from mmgen.models.base import Loss, Model, seeded
from mmgen.models.shared.growing_tables import grow
from mmgen.models.video.config import ClipsConfig
from mmgen.models.video.net import FrameNet

PREVIEW = 4
CHUNK = 64
"""Most clips in one pass: bounds memory."""
_WAVES = 8
_MAX_WORDS = 16

# Shares of what is given in training: frames, and whether the caption is told.
_PREDICT, _PREDICT_TOLD, _START, _START_TOLD, _TOLD = 0.3, 0.1, 0.15, 0.2, 0.2


@dataclass(frozen=True)
class Batch:
    """Clips in [-1, 1] and the words of their captions."""

    x_BT3SS: Tensor
    words_BW: Tensor


class ClipsBatches:
    """All clips as bytes, with the order to draw them in."""

    def __init__(self, clips_NTSS3: Tensor, words_NW: Tensor, batch: int, seed: int) -> None:
        self._clips_NTSS3, self._words_NW = clips_NTSS3, words_NW
        self._order = Order(torch.ones(len(words_NW)), batch, seed, "clips")

    def at(self, step: int) -> Batch:
        """The batch of a step."""
        rows_B = self._order.at(step)
        return Batch(_floats(self._clips_NTSS3[rows_B]), self._words_NW[rows_B])


class Clips(Model):
    """The model.

    Args:
        config: sizes.
        vocabulary: words of the captions.
        language: of the captions.
    """

    Config = ClipsConfig
    config: ClipsConfig

    def __init__(self, config: ClipsConfig, vocabulary: Vocabulary, language: str) -> None:
        super().__init__()
        self.config, self.vocabulary, self.language = config, vocabulary, language
        condition = 2 * config.word_width
        self.word = nn.Embedding(len(vocabulary), config.word_width)
        self.condition = nn.Sequential(
            nn.Linear(config.word_width + 2 * _WAVES, condition), nn.SiLU(), nn.Linear(condition, condition), nn.SiLU()
        )
        self.net = FrameNet(config.frames, config.patch, config.width, config.depth, condition)

    @classmethod
    def fit(cls, config: ClipsConfig, corpus: Corpus, data: DataConfig, rng: torch.Generator) -> Self:
        """First weights from `rng`, words of `corpus`; the net starts from the mean picture."""
        language = data.languages[0]
        with seeded(rng):
            model = cls(config, Vocabulary.fit(corpus.captions(language), (language,)), language)
        mean = _floats(model._clips(corpus.videos()[:500])).mean()
        assert model.net.write.bias is not None
        nn.init.constant_(model.net.write.bias, float(mean))
        return model

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """The module that `facts` describes, its weights still to be loaded."""
        return cls(ClipsConfig(**facts["config"]), Vocabulary(facts["vocabulary"]), facts["language"])

    def facts(self) -> dict[str, Any]:
        """What `from_facts` needs, as JSON values."""
        return {"config": asdict(self.config), "vocabulary": self.vocabulary.words, "language": self.language}

    def adapt(self, corpus: Corpus, data: DataConfig, rng: torch.Generator) -> None:
        """Words of `corpus` are added to those that it knows."""
        self.language = data.languages[0]
        self.vocabulary = self.vocabulary.grown(corpus.captions(self.language), (self.language,))
        grow(self.word, len(self.vocabulary), rng)

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Videos from words, a picture, both, their own beginning, or nothing; the picture that comes next."""
        sources = ("text", "image", "text and image", "video", "nothing")
        return (*((source, "video") for source in sources), ("video", "image"))

    def options(self) -> dict[str, str]:
        """What `generate` can be told, and the setting that says it otherwise."""
        return {"steps": "steps"}

    def batches(self, corpus: Corpus, seed: int) -> ClipsBatches:
        """Batches of `corpus`."""
        clips = self._clips(corpus.videos())
        return ClipsBatches(clips, self._words(corpus.captions(self.language)), self.config.batch, seed)

    def objectives(self, batch: Batch) -> dict[str, Loss]:
        """The two halves of the batch, each half of the mean squared error of the frames that were not given."""
        middle = len(batch.words_BW) // 2
        halves = {"first": slice(0, middle), "second": slice(middle, None)}
        return {
            name: partial(self._half, Batch(batch.x_BT3SS[rows], batch.words_BW[rows])) for name, rows in halves.items()
        }

    def _half(self, batch: Batch, rng: torch.Generator) -> Tensor:
        x_BT3SS, count = batch.x_BT3SS, len(batch.words_BW)
        kind_B = torch.rand(count, generator=rng)
        limits = torch.tensor([_PREDICT, _PREDICT_TOLD, _START, _START_TOLD, _TOLD]).cumsum(0)
        kind_B = torch.bucketize(kind_B, limits)
        given_B = torch.tensor([self.config.given, self.config.given, 1, 1, 0, 0])[kind_B]
        told_B = torch.tensor([False, True, False, True, True, False])[kind_B]
        mask_BT = (torch.arange(self.config.frames) < given_B[:, None]).float()
        t_B = torch.sigmoid(self.config.time_mean + torch.randn(count, generator=rng))
        noise = torch.randn(x_BT3SS.shape, generator=rng)
        t = t_B[:, None, None, None, None]
        z_BT3SS = t * x_BT3SS + (1 - t) * noise
        condition_BK = self._condition(torch.where(told_B[:, None], batch.words_BW, PAD), t_B)
        hidden = 1 - mask_BT[:, :, None, None, None]
        said = self.net(z_BT3SS * hidden, x_BT3SS * (1 - hidden), mask_BT, condition_BK)
        error_B = ((said - x_BT3SS).square() * hidden).sum((1, 2, 3, 4))
        values = hidden.sum((1, 2, 3, 4)) * x_BT3SS[0, 0].numel()
        loss_B: Tensor = error_B / values
        return 0.5 * loss_B.mean()

    def _condition(self, words_BW: Tensor, t_B: Tensor) -> Tensor:
        """(B, K): the sum of the words, which say what, where to and how fast in any order, and the noise level."""
        said = (self.word(words_BW) * (words_BW != PAD)[:, :, None]).sum(1)
        angles = t_B[:, None] * (torch.pi * 2.0 ** torch.arange(_WAVES))
        out: Tensor = self.condition(torch.cat([said, angles.sin(), angles.cos()], 1))
        return out

    def generate(
        self, given: Mapping[str, Sequence[Any]], to: str, n: int, *, seed: int, options: Mapping[str, Any]
    ) -> list[Any]:
        """Clips of `frames` frames, or the frame after a video.

        Of a given video the last `config.given` frames count; they are the beginning of the clip. Option `steps`: Euler
        steps of the sampler.

        Raises:
            DataError: a given video is shorter than `config.given`.
        """
        steps = int(options.get("steps", self.config.steps))
        words_NW = self._words(given["text"]) if "text" in given else torch.full((n, 1), PAD)
        start = self._start(given, n)
        made: list[Video] = []
        for first in range(0, n, CHUNK):
            rows = slice(first, first + CHUNK)
            noise = [
                torch.randn(self.config.frames, 3, self.config.image_px, self.config.image_px,
                            generator=generator(seed, "clip", place))
                for place in range(first, min(n, first + CHUNK))
            ]  # fmt: skip
            x = self._drawn(torch.stack(noise), start[rows], words_NW[rows], steps)
            made += [np.stack(from_tensor(clip)) for clip in x]
        if to == "image":
            return [clip[self.config.given] for clip in made]
        return made

    @torch.no_grad()
    def _drawn(self, z_BT3SS: Tensor, start_BG3SS: Tensor, words_BW: Tensor, steps: int) -> Tensor:
        """Euler steps from noise to clips that begin with `start_BG3SS`."""
        count = start_BG3SS.shape[1]
        known = torch.zeros_like(z_BT3SS)
        known[:, :count] = start_BG3SS
        mask_BT = (torch.arange(self.config.frames) < count).float().expand(len(z_BT3SS), -1)
        hidden = 1 - mask_BT[:, :, None, None, None]
        for step in range(steps):
            condition_BK = self._condition(words_BW, torch.full((len(z_BT3SS),), step / steps))
            x_BT3SS = self.net(z_BT3SS * hidden, known, mask_BT, condition_BK)
            z_BT3SS = z_BT3SS + (x_BT3SS - z_BT3SS) / (steps - step)
        return torch.where(hidden.bool(), z_BT3SS, known)

    def _start(self, given: Mapping[str, Sequence[Any]], n: int) -> Tensor:
        """The frames that are given, (N, G, 3, S, S)."""
        side, count = self.config.image_px, self.config.given
        if "video" in given:
            for video in given["video"]:
                if len(video) < count:
                    raise DataError(f"the video has {len(video)} frames; give at least {count}")
            return _floats(self._clips([video[-count:] for video in given["video"]], count))
        if "image" in given:
            return to_tensor([resize(picture, side) for picture in given["image"]])[:, None]
        return torch.zeros(n, 0, 3, side, side)

    def _clips(self, videos: Sequence[Video], frames: int | None = None) -> Tensor:
        """The first frames of videos as bytes, (N, T, S, S, 3)."""
        frames = frames or self.config.frames
        for video in videos:
            if len(video) < frames:
                raise DataError(f"a video has {len(video)} frames; the model learns clips of {frames}")
        side = self.config.image_px
        cut = [np.stack([resize(frame, side) for frame in video[:frames]]) for video in videos]
        return torch.from_numpy(np.stack(cut))

    def _words(self, captions: Sequence[str]) -> Tensor:
        return torch.tensor([self.vocabulary.encode(caption, self.language, _MAX_WORDS) for caption in captions])

    def preview(self, corpus: Corpus, seed: int) -> list[Example]:
        """Clips of the same captions each time, and the same beginnings predicted."""
        rows = spread(len(corpus), PREVIEW)
        captions = [corpus.captions(self.language)[row] for row in rows]
        clips = [corpus.videos()[row] for row in rows]
        told = self.generate({"text": captions}, "video", PREVIEW, seed=seed, options={})
        begun = [clip[: self.config.given] for clip in clips]
        predicted = self.generate({"video": begun}, "video", PREVIEW, seed=seed, options={})
        drawn = [Example(caption, {"drawn": clip}) for caption, clip in zip(captions, told, strict=True)]
        return drawn + [Example("predicted", {"clip": clip}) for clip in predicted]

    def unknown_words(self, caption: str) -> dict[str, str]:
        """Words that training never saw, each with the nearest known one; such words say nothing to the model."""
        return self.vocabulary.unknown(caption)


def _floats(clips_NTSS3: Tensor) -> Tensor:
    """Bytes (N, T, S, S, 3) as (N, T, 3, S, S) in [-1, 1]."""
    return clips_NTSS3.permute(0, 1, 4, 2, 3).float().div(127.5).sub(1)
