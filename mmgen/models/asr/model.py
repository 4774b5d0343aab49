"""Speech to text: characters over time, by connectionist temporal classification (CTC).

Convolutions make one step of three frames of a log-mel spectrogram, and each step names a character or a blank; the
loss is -ln P(text | sound), summed over all ways to place the characters in time (Graves et al. 2006,
doi:10.1145/1143844.1143891, eq. 8). A stack of residual convolutions without recurrence is the layout of Jasper (Li et
al. 2019, arXiv:1904.03288), with LayerNorm instead of batch normalisation. Masks over bands and time are those of
SpecAugment (Park et al. 2019, arXiv:1904.08779).

Unlike them, a row of a batch is several clips end to end (`mmgen.models.asr.batches`), and the n-gram of the
search sees nothing but the training transcripts (`mmgen.models.asr.search`).

Shapes here: B rows, T frames, M bands, S steps, C channels, K characters and the blank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus
from mmgen.errors import DataError
from mmgen.examples import Example, spread
from mmgen.modalities.sound import BANDS, Sound, log_mel
from mmgen.models.asr.batches import FRAMES, SILENCE, ListenerBatches, Rows, targets
from mmgen.models.asr.config import ListenerConfig
from mmgen.models.asr.search import CHARACTERS, NGram, beam_search, greedy
from mmgen.models.base import Loss, Model, seeded

PREVIEW = 16
_MARGIN = 12
"""Frames of silence before and after a clip that is listened to."""


class Residual(nn.Module):
    """x + dropout(GELU(conv(norm(x)))), steps in the middle axis."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, 5, padding=2)
        self.dropout = dropout

    def forward(self, x_BSC: Tensor, rng: torch.Generator | None) -> Tensor:
        """Same shape."""
        y_BSC = F.gelu(self.conv(self.norm(x_BSC).transpose(1, 2))).transpose(1, 2)
        return x_BSC + dropped(y_BSC, self.dropout, rng)


class Listener(Model):
    """The network and the n-gram of its search.

    Args:
        config: sizes, augmentation and search.
        texts: training transcripts, which the n-gram is counted from.
        mean: of the training spectrograms, a band each.
        scale: their standard deviation.
    """

    Config = ListenerConfig
    config: ListenerConfig

    def __init__(
        self, config: ListenerConfig, texts: Sequence[str], mean: Sequence[float], scale: Sequence[float]
    ) -> None:
        super().__init__()
        self.config, self.texts, self.mean, self.scale = config, tuple(texts), tuple(mean), tuple(scale)
        self.ngram = NGram(texts, config.order)
        width = config.width
        self.front = nn.Conv1d(BANDS, width, 2 * config.stride + 3, stride=config.stride, padding=config.stride + 1)
        self.convolutions = nn.ModuleList(Residual(width, config.dropout) for _ in range(config.convolutions))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, len(CHARACTERS) + 1)

    @classmethod
    def fit(cls, config: ListenerConfig, corpus: Corpus, data: DataConfig, rng: torch.Generator) -> Self:
        """First weights from `rng`; statistics and n-gram from the corpus."""
        frames_NM = np.concatenate([log_mel(sound) for sound in corpus.sounds()])
        texts = sorted(set(corpus.captions("en")))
        with seeded(rng):
            return cls(config, texts, frames_NM.mean(0).tolist(), frames_NM.std(0).tolist())

    def facts(self) -> dict[str, Any]:
        """What `from_facts` needs, as JSON values."""
        return {"config": asdict(self.config), "texts": self.texts, "mean": self.mean, "scale": self.scale}

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """The module that `facts` describes, its weights still to be loaded."""
        return cls(ListenerConfig(**facts["config"]), facts["texts"], facts["mean"], facts["scale"])

    def adapt(self, corpus: Corpus, data: DataConfig, rng: torch.Generator) -> None:
        """The n-gram is counted from the transcripts of `corpus`; spectrograms are scaled as before."""
        self.texts = tuple(sorted(set(corpus.captions("en"))))
        self.ngram = NGram(self.texts, self.config.order)

    @property
    def margin_seconds(self) -> float:
        """Silence that `posteriors` puts before and after a sound."""
        return _MARGIN / FRAMES

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Sound to text."""
        return (("sound", "text"),)

    def options(self) -> dict[str, str]:
        """What `generate` can be told, and the setting that says it otherwise."""
        return {"beam": "beam"}

    def batches(self, corpus: Corpus, seed: int) -> ListenerBatches:
        """Batches of `corpus`.

        Raises:
            DataError: a transcript has a character that cannot be heard.
        """
        texts = corpus.captions("en")
        for key, text in zip(corpus.keys, texts, strict=True):
            if strange := set(text) - set(CHARACTERS):
                raise DataError(
                    f"{key!r}: character {min(strange)!r} in a transcript; want small letters, ' and spaces"
                )
        return ListenerBatches([log_mel(sound) for sound in corpus.sounds()], texts, self.config, seed)

    def objectives(self, batch: tuple[Rows, Rows]) -> dict[str, Loss]:
        """Nats a character of each half of the rows, as a share of the whole batch."""
        return {name: partial(self._loss, rows) for name, rows in zip(("first", "second"), batch, strict=True)}

    def _loss(self, rows: Rows, rng: torch.Generator) -> Tensor:
        mel_BTM = masked(self._normal(rows.mel_BTM), self.config, rng)
        log_BSK = self(mel_BTM, rng)
        characters_N, lengths_B = targets(rows.texts)
        steps_B = (rows.frames_B - 1) // self.config.stride + 1
        loss: Tensor = F.ctc_loss(log_BSK.transpose(0, 1), characters_N, steps_B, lengths_B, reduction="sum")
        return loss / rows.characters

    def forward(self, mel_BTM: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Log probabilities (B, S, K) of normalised spectrograms; `rng` switches dropout on."""
        x_BSC = F.gelu(self.front(mel_BTM.transpose(1, 2))).transpose(1, 2)
        for block in self.convolutions:
            x_BSC = block(x_BSC, rng)
        logits_BSK: Tensor = self.out(self.norm(x_BSC))
        return logits_BSK.log_softmax(-1)

    @torch.no_grad()
    def posteriors(self, sound: Sound) -> NDArray[np.float32]:
        """Log probabilities (S, K) of one sound, K = the blank and `CHARACTERS`; a step is `stride` frames."""
        mel_TM = F.pad(torch.from_numpy(log_mel(sound)), (0, 0, _MARGIN, _MARGIN), value=SILENCE)
        log_SK: NDArray[np.float32] = self(self._normal(mel_TM[None]))[0].numpy()
        return log_SK

    def generate(
        self, given: Mapping[str, Sequence[Any]], to: str, n: int, *, seed: int, options: Mapping[str, Any]
    ) -> list[Any]:
        """What is said in `given["sound"]`; nothing is drawn at random, so `seed` changes nothing.

        Option `beam` overrides the config's; 0 is the likeliest character of each step, without the n-gram.
        """
        beam, config = int(options.get("beam", self.config.beam)), self.config
        found = []
        for sound in given["sound"]:
            log_SK = self.posteriors(sound)
            if beam:
                found.append(beam_search(log_SK, self.ngram, beam, config.language_weight, config.character_bonus))
            else:
                found.append(greedy(log_SK))
        return found

    def preview(self, corpus: Corpus, seed: int) -> list[Example]:
        """What is heard in a few clips that are learned from."""
        few = corpus.take(spread(len(corpus), PREVIEW))
        heard = self.generate({"sound": few.sounds()}, "text", len(few), seed=seed, options={"beam": 0})
        return [
            Example(said, {"clip": sound}, [(f"heard: {text}", text == said)])
            for said, sound, text in zip(few.captions("en"), few.sounds(), heard, strict=True)
        ]

    def _normal(self, mel_BTM: Tensor) -> Tensor:
        return (mel_BTM - torch.tensor(self.mean)) / torch.tensor(self.scale)


def masked(mel_BTM: Tensor, config: ListenerConfig, rng: torch.Generator) -> Tensor:
    """Some bands of each row and some stretches of its time set to the mean, 0."""
    mel_BTM = mel_BTM.clone()
    rows, frames, bands = mel_BTM.shape
    count = round(config.time_masks * frames / 100)
    draws_BN2 = torch.rand(rows, config.band_masks + count, 2, generator=rng).tolist()
    for row, draws in enumerate(draws_BN2):
        for number, (width, start) in enumerate(draws):
            if number < config.band_masks:
                size = int(width * (config.band_mask + 1))
                first = int(start * (bands - size))
                mel_BTM[row, :, first : first + size] = 0
            else:
                size = min(frames, int(width * (config.time_mask + 1)))
                first = int(start * (frames - size))
                mel_BTM[row, first : first + size] = 0
    return mel_BTM


def dropped(x: Tensor, share: float, rng: torch.Generator | None) -> Tensor:
    """Dropout from a generator of its own; without one, nothing is dropped."""
    if rng is None or not share:
        return x
    keep = torch.rand(x.shape, generator=rng) >= share
    return x * keep / (1 - share)
