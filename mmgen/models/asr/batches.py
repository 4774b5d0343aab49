"""Rows of speech to learn from: clips, altered a little and joined end to end.

Clips last half a second to half a minute. Filled up with silence to the longest, two thirds of a batch would be
nothing; joined to rows of about that length, hardly any of it is. Joined clips also keep the network from learning
whole prompts by heart, since any prompt may follow any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mmgen.data.order import Order, generator
from mmgen.modalities.sound import BANDS, FLOOR, HOP, RATE
from mmgen.models.asr.config import ListenerConfig
from mmgen.models.asr.search import CHARACTERS

FRAMES = RATE / HOP
"""Frames a second."""
SILENCE = float(np.log(FLOOR))


@dataclass(frozen=True)
class Rows:
    """Some rows of a batch."""

    mel_BTM: Tensor
    """Log-mel spectrograms, filled up with silence."""
    frames_B: Tensor
    """How many frames of each row are speech."""
    texts: list[str]
    characters: int
    """Of the whole batch, which a loss is divided by."""


class ListenerBatches:
    """All clips and transcripts, with the order to draw them in."""

    def __init__(
        self, mels: Sequence[NDArray[np.float32]], texts: Sequence[str], config: ListenerConfig, seed: int
    ) -> None:
        self._mels = [torch.from_numpy(mel) for mel in mels]
        self._texts, self._config, self._seed = list(texts), config, seed
        self._order = Order(torch.ones(len(texts)), config.clips, seed, "listener")

    def at(self, step: int) -> tuple[Rows, Rows]:
        """The two halves of the batch of a step."""
        rng = generator(self._seed, "listener", "augmented", step)
        clips = [(altered(self._mels[row], self._config, rng), self._texts[row]) for row in self._order.at(step)]
        rows = joined(clips, round(self._config.row_seconds * FRAMES))
        characters = sum(len(text) for _, text in rows)
        return _filled(rows[0::2], characters), _filled(rows[1::2] or rows[:1], characters)


def altered(mel_TM: Tensor, config: ListenerConfig, rng: torch.Generator) -> Tensor:
    """The clip at another speed, pitch range and loudness, perhaps with noise."""
    speed, warp, gain, noisy, level = (2 * torch.rand(5, generator=rng) - 1).tolist()
    length = max(1, round(len(mel_TM) / (1 + config.speed * speed)))
    side = BANDS * (1 + config.warp * warp)
    # Both at once: a picture that is stretched, and cut off or continued at its upper edge.
    mel_TM = F.interpolate(mel_TM[None, None], (length, round(side)), mode="bilinear", align_corners=False)[0, 0]
    mel_TM = F.pad(mel_TM[None], (0, max(0, BANDS - mel_TM.shape[1])), mode="replicate")[0, :, :BANDS]
    mel_TM = mel_TM + gain
    if (noisy + 1) / 2 < config.noise:
        colour_M = F.interpolate(torch.randn(1, 1, 5, generator=rng), BANDS, mode="linear")[0, 0]
        loud = mel_TM.max() - np.log(10) * (45 + 15 * level) / 20
        hiss_TM = loud + 0.5 * colour_M + 0.4 * torch.randn(mel_TM.shape, generator=rng)
        mel_TM = torch.logaddexp(mel_TM, hiss_TM)
    return mel_TM


def joined(clips: list[tuple[Tensor, str]], shortest: int) -> list[tuple[Tensor, str]]:
    """Clips in rows of at most the longest clip's frames, or `shortest`: each goes where it fits first.

    At least two rows come out when there are two clips.
    """
    length = max(shortest, *(len(mel) for mel, _ in clips))
    rows: list[list[tuple[Tensor, str]]] = [[], []]
    room = [length, length]
    for number, clip in enumerate(sorted(clips, key=lambda clip: -len(clip[0]))):
        frames = len(clip[0])
        place = number if number < 2 else next((at for at, free in enumerate(room) if free >= frames), len(rows))
        if place == len(rows):
            rows.append([])
            room.append(length)
        rows[place].append(clip)
        room[place] -= frames
    return [(torch.cat([mel for mel, _ in row]), " ".join(text for _, text in row)) for row in rows if row]


def targets(texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Character numbers of all texts in one row, and the length of each."""
    numbers = [CHARACTERS.index(character) + 1 for text in texts for character in text]
    return torch.tensor(numbers), torch.tensor([len(text) for text in texts])


def _filled(rows: Sequence[tuple[Tensor, str]], characters: int) -> Rows:
    frames = [len(mel) for mel, _ in rows]
    mel_BTM = torch.full((len(rows), max(frames), BANDS), SILENCE)
    for place, (mel, _) in enumerate(rows):
        mel_BTM[place, : len(mel)] = mel
    return Rows(mel_BTM, torch.tensor(frames), [text for _, text in rows], characters)
