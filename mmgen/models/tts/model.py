"""Speaker: text to speech from minutes of one voice.

1. A convolutional network reads the letters and gives each `states` means of mel frames and durations.
2. Monotonic alignment search (`alignment.py`) finds which frames belong to which state; the means follow the frames
   (Glow-TTS, Kim et al. 2020, arXiv:2005.11129; the Gaussian prior and encoder loss of Grad-TTS, arXiv:2105.06337).
3. A second network draws the frames from the states, each as long as it lasts (FastSpeech, Ren et al. 2019,
   arXiv:1905.09263). It learns the mean of what could be said, by L1: clear, but smooth.
4. Real frames are laid over that trajectory (`tiling.py`), so that the voice keeps its harmonics.

Unlike those models it reads letters, not phonemes, and trains in minutes on two cores. The training clips are a part of
the model. Words that it never heard are made of letters of others and are often wrong; `unknown_words` names them.

Shapes here: S symbols, P states, T frames, M mel bands, D channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus
from mmgen.errors import ConfigError, unknown
from mmgen.examples import Example, spread
from mmgen.modalities import sound
from mmgen.modalities.sound import BANDS
from mmgen.models.base import Loss, Model, seeded
from mmgen.models.tts.alignment import align
from mmgen.models.tts.batches import Clips, SpeakerBatches
from mmgen.models.tts.config import VOICES, SpeakerConfig
from mmgen.models.tts.layers import Row
from mmgen.models.tts.pictures import alignment_picture
from mmgen.models.tts.spelling import END, START, SYMBOLS, numbers, spell, words
from mmgen.models.tts.tiling import Bank, tile

PREVIEW = 16
LOUDEST = 3.0
"""Frames of the bank are kept in 8 bits, from -LOUDEST to LOUDEST deviations."""


@dataclass(frozen=True)
class Speech:
    """What is known of a text before it is heard."""

    symbols: str
    duration_S: NDArray[np.int64]
    """Frames of each symbol."""
    frame_TM: NDArray[np.float32]
    """Log-mel frames."""
    piece_S: NDArray[np.int64]
    """Which piece of the training clips each symbol begins in, counted from 0; empty for the smooth voice."""


class Speaker(Model):
    """The model.

    Args:
        config: sizes.
        texts: spelled text of each training clip.
        frames: how many frames each has.
        language: of the captions.
    """

    Config = SpeakerConfig
    config: SpeakerConfig
    mean_M: Tensor
    scale_M: Tensor
    bank_TM: Tensor

    def __init__(self, config: SpeakerConfig, texts: Sequence[str], frames: Sequence[int], language: str) -> None:
        super().__init__()
        self.config, self.texts, self.frames, self.language = config, list(texts), list(frames), language
        width, drawn = config.width, config.frame_width
        self.symbol = nn.Embedding(len(SYMBOLS), width)
        self.reader = Row(width, config.depth, config.kernel)
        self.state = nn.Linear(width, config.states * drawn)
        self.mean = nn.Linear(drawn, BANDS)
        self.timing = Row(width, 2, config.kernel)
        self.root = nn.Linear(width, config.states)
        self.place = nn.Linear(3, drawn)
        self.drawer = Row(drawn, config.frame_depth, config.kernel)
        self.frame = nn.Linear(drawn, config.stack * BANDS)
        nn.init.zeros_(self.frame.weight)
        nn.init.constant_(self.root.bias, 2.0)
        self.register_buffer("mean_M", torch.zeros(BANDS))
        self.register_buffer("scale_M", torch.ones(BANDS))
        self.register_buffer("bank_TM", torch.zeros(sum(frames), BANDS, dtype=torch.uint8))
        self._known = sorted({word for text in self.texts for word in text[1:-1].split()})
        self._aligned: tuple[float, Bank, float] | None = None

    @classmethod
    def fit(cls, config: SpeakerConfig, corpus: Corpus, data: DataConfig, rng: torch.Generator) -> Self:
        """A model that holds the clips of `corpus`, with first weights drawn from `rng`."""
        texts, mels = [], []
        for caption, heard in zip(corpus.captions(data.languages[0]), corpus.sounds(), strict=True):
            mel_TM = torch.from_numpy(np.asarray(sound.log_mel(heard), dtype=np.float32))
            text = spell(caption)
            length = len(mel_TM) - len(mel_TM) % config.stack
            if length >= len(text) * config.states:
                texts.append(text)
                mels.append(mel_TM[:length])
        if not texts:
            raise ConfigError(f"no clip is long enough for model.states={config.states}; set it to 1")
        all_TM = torch.cat(mels)
        with seeded(rng):
            model = cls(config, texts, [len(mel) for mel in mels], data.languages[0])
        model.mean_M.copy_(all_TM.mean(0))
        model.scale_M.copy_(all_TM.std(0).clamp(min=1e-3))
        scaled_TM = (all_TM - model.mean_M) / model.scale_M
        model.bank_TM.copy_(((scaled_TM / LOUDEST).clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8))
        return model

    def facts(self) -> dict[str, Any]:
        """What `from_facts` needs, as JSON values."""
        return {"config": asdict(self.config), "texts": self.texts, "frames": self.frames, "language": self.language}

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """The module that `facts` describes, its weights still to be loaded."""
        return cls(SpeakerConfig(**facts["config"]), facts["texts"], facts["frames"], facts["language"])

    @staticmethod
    def pairs() -> tuple[tuple[str, str], ...]:
        """(source, target) modalities that the model turns into each other."""
        return (("text", "sound"),)

    def options(self) -> dict[str, str]:
        """What `generate` can be told, and the setting that says it otherwise."""
        return {"voice": "voice"}

    def batches(self, corpus: Corpus, seed: int) -> SpeakerBatches:
        """Batches of the clips that the model holds: those of the corpus that it was fitted to."""
        symbols, frames = self._clips()
        return SpeakerBatches(symbols, frames, self.config.clips, seed)

    def objectives(self, batch: list[Clips]) -> dict[str, Loss]:
        """The same loss of the two halves of a batch: the L1 error of the frames, plus that of the states' means and of
        the square roots of their durations by their weights. Frames count the same in both."""
        total = sum(len(half.frame_TM) for half in batch)
        names = ("first", "second")
        return {name: partial(self._loss, half, total) for name, half in zip(names, batch, strict=True)}

    def _loss(self, clips: Clips, total: int, rng: torch.Generator) -> Tensor:
        read_SD = self._read(clips.symbol_S, clips.symbols)
        state_PD = self._states(read_SD, rng)
        mean_PM = self.mean(state_PD)
        duration_P = self._align(mean_PM, clips)
        aligned_TM = torch.repeat_interleave(mean_PM, duration_P, 0)
        drawn_TM = self._draw(state_PD, duration_P, aligned_TM, clips.frames)
        root_P = self._roots(read_SD.detach(), clips.symbols)
        weight = len(clips.frame_TM) / total
        return weight * (
            F.l1_loss(drawn_TM, clips.frame_TM)
            + self.config.prior_weight * F.mse_loss(aligned_TM, clips.frame_TM)
            # Roots: of log durations the mean would be too short by a quarter, of durations the pauses would rule.
            + self.config.duration_weight * F.mse_loss(root_P, duration_P.float().sqrt())
        )

    def _read(self, symbol_S: Tensor, symbols: Sequence[int]) -> Tensor:
        """(S, D) features of letters in their context."""
        read_SD: Tensor = self.reader(self.symbol(symbol_S), symbols)
        return read_SD

    def _states(self, read_SD: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """(P, D) features of the states of each letter, some hidden when `rng` is given."""
        state_PD: Tensor = self.state(read_SD).view(-1, self.config.frame_width)
        if rng is None or not self.config.dropout:
            return state_PD
        kept = torch.rand(state_PD.shape, generator=rng) >= self.config.dropout
        return state_PD * kept / (1 - self.config.dropout)

    def _roots(self, read_SD: Tensor, symbols: Sequence[int]) -> Tensor:
        """(P,) square roots of the frames that each state lasts."""
        roots_P: Tensor = self.root(self.timing(read_SD, symbols)).flatten()
        return roots_P

    def _align(self, mean_PM: Tensor, clips: Clips) -> Tensor:
        """Frames of each state, (P,)."""
        states = [count * self.config.states for count in clips.symbols]
        pairs = zip(torch.split(mean_PM.detach(), states), torch.split(clips.frame_TM, clips.frames), strict=True)
        return torch.cat([align(mean, frame) for mean, frame in pairs])

    def _draw(self, state_PD: Tensor, duration_P: Tensor, aligned_TM: Tensor, frames: Sequence[int]) -> Tensor:
        """(T, M) frames from states, each as long as it lasts."""
        stack = self.config.stack
        start_P = duration_P.cumsum(0) - duration_P
        last_T = torch.repeat_interleave(duration_P, duration_P).float()
        into_T = torch.arange(len(last_T)) - torch.repeat_interleave(start_P, duration_P) + 0.5
        place_T3 = torch.stack([into_T / last_T, into_T / 10, last_T.log()], 1)
        heard_TD = torch.repeat_interleave(state_PD, duration_P, 0)
        x_TD = (heard_TD + self.place(place_T3)).view(-1, stack, heard_TD.shape[1]).mean(1)
        features_TD = self.drawer(x_TD, [count // stack for count in frames])
        drawn_TM: Tensor = aligned_TM + self.frame(features_TD).view(-1, BANDS)
        return drawn_TM

    def generate(
        self, given: Mapping[str, Sequence[Any]], to: str, n: int, *, seed: int, options: Mapping[str, Any]
    ) -> list[Any]:
        """Speech of each text. Nothing is drawn at random.

        Options: `voice`, one of `VOICES`.

        Raises:
            ConfigError: no such voice.
            DataError: a text has nothing that can be spoken.
        """
        voice = options.get("voice", self.config.voice)
        if voice not in VOICES:
            raise ConfigError(unknown("voice", voice, VOICES))
        return [
            np.clip(sound.from_log_mel(self.say(text, voice).frame_TM), -1, 1).astype(np.float32)
            for text in given["text"][:n]
        ]

    @torch.no_grad()
    def say(self, text: str, voice: str) -> Speech:
        """Frames of a text, with what led to them."""
        symbols = spell(text)
        symbol_S = torch.tensor(numbers(symbols))
        stack, states = self.config.stack, self.config.states
        read_SD = self._read(symbol_S, [len(symbol_S)])
        state_PD = self._states(read_SD)
        bank, tempo = self.bank()
        # Whole frames whose sum does not drift; the last state takes what fills the last step.
        ends_P = (self._roots(read_SD, [len(symbol_S)]).clamp(1, 15).square() * tempo).cumsum(0).round().long()
        duration_P = ends_P.diff(prepend=torch.zeros(1, dtype=torch.long)).clamp(min=1)
        duration_P[-1] += -int(duration_P.sum()) % stack
        aligned_TM = torch.repeat_interleave(self.mean(state_PD), duration_P, 0)
        frame_TM = self._draw(state_PD, duration_P, aligned_TM, [len(aligned_TM)]).numpy()
        lasts_P = duration_P.numpy()
        piece_S = np.zeros(0, dtype=np.int64)
        if voice == "tiled":
            unit_P = self._units(symbol_S)
            frame_TM, tile_P = tile(
                bank,
                unit_P,
                lasts_P,
                frame_TM,
                candidates=self.config.candidates,
                context_weight=self.config.context_weight,
                price=self.config.join_cost + self.config.edge_cost * (unit_P[1:] % states == 0),
            )
            lasts_P = np.where(tile_P < 0, lasts_P, (bank.end_U - bank.start_U)[tile_P])
            piece_S = np.cumsum(np.diff(tile_P, prepend=tile_P[0] - 1) != 1)[::states]
        mel_TM = frame_TM * self.scale_M.numpy() + self.mean_M.numpy()
        return Speech(symbols, lasts_P.reshape(-1, states).sum(1), mel_TM.astype(np.float32), piece_S)

    def _units(self, symbol_S: Tensor) -> NDArray[np.int64]:
        """The number of each state of each symbol, (P,)."""
        states = self.config.states
        units: NDArray[np.int64] = (symbol_S[:, None] * states + torch.arange(states)).flatten().numpy()
        return units

    @torch.no_grad()
    def bank(self) -> tuple[Bank, float]:
        """The training clips cut into letters by the weights as they are, and how much longer these letters last than
        is predicted: a mean of roots is too small. Both are kept until the weights change."""
        weights = float(self.mean.weight.double().sum() + self.state.weight.double().sum())
        if self._aligned is None or self._aligned[0] != weights:
            symbols, frames = self._clips()
            clips = Clips.of(symbols, frames)
            read_SD = self._read(clips.symbol_S, clips.symbols)
            duration_P = self._align(self.mean(self._states(read_SD)), clips)
            predicted_P = self._roots(read_SD, clips.symbols).clamp(1, 15).square()
            inner_P = torch.repeat_interleave(clips.symbol_S >= len(START + END), self.config.states)
            tempo = float(duration_P[inner_P].sum() / predicted_P[inner_P].sum())
            lasts = torch.split(duration_P, [count * self.config.states for count in clips.symbols])
            units = [self._units(symbol_S) for symbol_S in symbols]
            bank = Bank.of(units, [last_P.numpy() for last_P in lasts], clips.frame_TM.numpy())
            self._aligned = weights, bank, tempo
        return self._aligned[1:]

    def preview(self, corpus: Corpus, seed: int) -> list[Example]:
        """Real clips beside the same texts spoken in the smooth voice, which hides nothing of what was learned so far,
        with the alignment of the other voice: a new colour is a cut."""
        captions = corpus.captions(self.language)
        rows = spread(len(captions), PREVIEW)
        examples = []
        for row, heard in zip(rows, corpus.take(rows).sounds(), strict=True):
            spoken = self.say(captions[row], "tiled")
            smooth = self.generate({"text": [captions[row]]}, "sound", 1, seed=seed, options={"voice": "smooth"})
            picture = alignment_picture(spoken.symbols, spoken.duration_S, spoken.piece_S)
            examples.append(Example(captions[row], {"real": heard, "made": smooth[0], "alignment": picture}))
        return examples

    def unknown_words(self, caption: str) -> dict[str, str]:
        """Words that no training clip says, each with the nearest that one does, or an empty text."""
        import difflib

        found = {}
        for word in words(caption):
            if word not in self._known:
                near = difflib.get_close_matches(word, self._known, n=1)
                found[word] = near[0] if near else ""
        return found

    def _clips(self) -> tuple[list[Tensor], list[Tensor]]:
        """Symbols and scaled frames of each training clip."""
        frame_TM = (self.bank_TM.float() - 127.5) * (LOUDEST / 127.5)
        return [torch.tensor(numbers(text)) for text in self.texts], list(torch.split(frame_TM, self.frames))
