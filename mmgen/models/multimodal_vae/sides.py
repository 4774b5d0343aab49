"""The modalities of a fusion model: for each an encoder, a decoder, a likelihood, and the way from things to numbers.

image  (S, S, 3) uint8   S x S grey values; Bernoulli, made binary at random each time it is learned from
text   str               its letters, one-hot, filled up with an empty one; one categorical a place
sound  (N,) float32      log-mel values of `frames` frames of 20 ms, standardised; normal with a fixed deviation

Shapes here: B samples, P numbers of a thing, Z latent, L letters of the longest word, A alphabet, T frames, M bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgen.errors import DataError
from mmgen.modalities import sound
from mmgen.modalities.image import from_tensor, resize, to_tensor
from mmgen.models.multimodal_vae.joins import Normal

_QUIET = 0.3
"""Frames at the end whose loudest band is less than this share of the way from silence to the loudest are cut off."""


class Side(nn.Module):
    """Encoder and decoder of two hidden layers.

    Args:
        values: numbers that stand for a thing.
        width: channels of the hidden layers.
        latent: numbers of the latent space.
    """

    def __init__(self, values: int, width: int, latent: int) -> None:
        super().__init__()
        self.encoder = _layers(values, width, 2 * latent)
        self.decoder = _layers(latent, width, values)

    def expert(self, x_BP: Tensor) -> Normal:
        """What things say of the latent numbers."""
        mean_BZ, log_BZ = self.encoder(self.seen(x_BP)).chunk(2, 1)
        return Normal(mean_BZ, log_BZ.clamp(-5, 3))

    def seen(self, x_BP: Tensor) -> Tensor:
        """What the encoder reads."""
        return x_BP

    def drawn(self, x_BP: Tensor, rng: torch.Generator) -> Tensor:
        """Values to learn from in this step."""
        return x_BP

    def values(self, things: Sequence[Any]) -> Tensor:
        """Numbers (N, P) of things."""
        raise NotImplementedError

    def nats(self, out_BP: Tensor, x_BP: Tensor) -> Tensor:
        """-log p (B,) of values under the decoder's output."""
        raise NotImplementedError

    def things(self, out_BP: Tensor) -> list[Any]:
        """The likeliest thing of each output."""
        raise NotImplementedError


class ImageSide(Side):
    """Grey pictures."""

    def __init__(self, image_px: int, width: int, latent: int) -> None:
        super().__init__(image_px**2, width, latent)
        self.image_px = image_px

    def seen(self, x_BP: Tensor) -> Tensor:
        """Values in [-1, 1]."""
        return 2 * x_BP - 1

    def drawn(self, x_BP: Tensor, rng: torch.Generator) -> Tensor:
        """Each pixel 1 with the probability of its grey value."""
        return torch.bernoulli(x_BP, generator=rng)

    def values(self, things: Sequence[Any]) -> Tensor:
        """Grey values (N, P) in [0, 1]."""
        x_N3SS = to_tensor([resize(picture, self.image_px) for picture in things])
        return (x_N3SS.mean(1).flatten(1) + 1) / 2

    def nats(self, out_BP: Tensor, x_BP: Tensor) -> Tensor:
        """Of Bernoulli pixels."""
        return F.binary_cross_entropy_with_logits(out_BP, x_BP, reduction="none").sum(1)

    def things(self, out_BP: Tensor) -> list[Any]:
        """Pictures of the probability of each pixel."""
        x_B1SS = (2 * out_BP.sigmoid() - 1).view(-1, 1, self.image_px, self.image_px)
        return list(from_tensor(x_B1SS.expand(-1, 3, -1, -1)))


class TextSide(Side):
    """Short words, letter by letter."""

    def __init__(self, alphabet: str, letters: int, width: int, latent: int) -> None:
        super().__init__(letters * (len(alphabet) + 1), width, latent)
        self.alphabet, self.letters = alphabet, letters

    def values(self, things: Sequence[Any]) -> Tensor:
        """One-hot letters (N, L (A + 1)); place 0 of each letter stands for none.

        Raises:
            DataError: a word is too long, or has a letter that no word of the training set has.
        """
        rows = []
        for word in things:
            strange = [letter for letter in word if letter not in self.alphabet]
            if strange:
                raise DataError(f"word {word!r}: the model never met {strange[0]!r}; it knows {self.alphabet!r}")
            if len(word) > self.letters:
                raise DataError(f"word {word!r} has {len(word)} letters; the model writes at most {self.letters}")
            rows.append([self.alphabet.index(letter) + 1 for letter in word] + [0] * (self.letters - len(word)))
        return F.one_hot(torch.tensor(rows), len(self.alphabet) + 1).float().flatten(1)

    def nats(self, out_BP: Tensor, x_BP: Tensor) -> Tensor:
        """Of one letter a place."""
        log_BLA = out_BP.view(len(out_BP), self.letters, -1).log_softmax(-1)
        return -(log_BLA.flatten(1) * x_BP).sum(1)

    def things(self, out_BP: Tensor) -> list[Any]:
        """Words of the likeliest letter of each place, up to the first empty one."""
        found = []
        for row in out_BP.view(len(out_BP), self.letters, -1).argmax(-1).tolist():
            length = row.index(0) if 0 in row else len(row)
            found.append("".join(self.alphabet[place - 1] for place in row[:length]))
        return found


class SoundSide(Side):
    """Short sounds as log-mel spectrograms with half the frames."""

    mean_M: Tensor
    std_M: Tensor

    def __init__(self, frames: int, std: float, width: int, latent: int) -> None:
        super().__init__(frames * sound.BANDS, width, latent)
        self.frames, self.std = frames, std
        self.register_buffer("mean_M", torch.zeros(sound.BANDS))
        self.register_buffer("std_M", torch.ones(sound.BANDS))

    def fit(self, things: Sequence[Any]) -> None:
        """Mean and deviation of each band."""
        x_NTM = self.values(things).view(-1, self.frames, sound.BANDS)
        self.mean_M.copy_(x_NTM.mean((0, 1)))
        self.std_M.copy_(x_NTM.std((0, 1)).clamp_min(1e-3))

    def values(self, things: Sequence[Any]) -> Tensor:
        """Standardised log-mel values (N, T M); what is longer is cut, what is shorter ends in silence."""
        x_NTM = np.full((len(things), self.frames, sound.BANDS), np.log(sound.FLOOR), np.float32)
        for row, thing in enumerate(things):
            mel_TM = sound.log_mel(thing)[: 2 * self.frames]
            mel_TM = mel_TM[: len(mel_TM) // 2 * 2].reshape(-1, 2, sound.BANDS).mean(1)
            x_NTM[row, : len(mel_TM)] = mel_TM
        return ((torch.from_numpy(x_NTM) - self.mean_M) / self.std_M).flatten(1)

    def nats(self, out_BP: Tensor, x_BP: Tensor) -> Tensor:
        """Of normal values."""
        constant = 0.5 * np.log(2 * np.pi) + np.log(self.std)
        nats_BP: Tensor = 0.5 * ((out_BP - x_BP) / self.std).square() + constant
        return nats_BP.sum(1)

    def spectrograms(self, out_BP: Tensor) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        """Log-mel spectrograms (frames of 10 ms, M), without the silence at the end."""
        x_BTM = out_BP.view(len(out_BP), self.frames, -1) * self.std_M + self.mean_M
        found = []
        for x_TM in x_BTM:
            loud_T = x_TM.amax(1)
            least = loud_T.min() + _QUIET * (loud_T.max() - loud_T.min())
            length = max(2, int((loud_T > least).nonzero().max()) + 1)
            up_TM = F.interpolate(x_TM[:length].T[None], scale_factor=2, mode="linear")[0].T
            found.append(up_TM.clamp_min(float(np.log(sound.FLOOR))).numpy())
        return found

    def things(self, out_BP: Tensor) -> list[Any]:
        """Sounds (N,) float32 at 16 kHz."""
        return [sound.from_log_mel(mel_TM) for mel_TM in self.spectrograms(out_BP)]


def _layers(given: int, width: int, made: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(given, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, made))
