"""Fused: features of a picture and of a text, put together, answer one question: a class, or a number that comes round.

Each modality has an encoder; their features are added and read by a small head (Ngiam et al. 2011, Multimodal Deep
Learning, ICML). In training one of the two is left out for some samples, so that the model answers from either alone
(modality dropout: Neverova et al. 2015, arXiv:1501.00102). Texts are bags of hashed n-grams of characters (Bojanowski
et al. 2017, arXiv:1607.04606), which say something of words that were never met. A number that comes round is learned
as a point on a circle, whose squared distance is minimised; a class by cross-entropy.

Shapes here: B samples, S side in pixels, G n-grams, F features, K classes, or 2 coordinates.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus
from mmgen.data.order import Order
from mmgen.errors import DataError
from mmgen.examples import Example, spread
from mmgen.modalities.image import resize, to_tensor
from mmgen.models.base import Loss, Model, seeded
from mmgen.models.classifier.config import FusedConfig

PREVIEW = 12
CHUNK = 256
_NGRAMS = (3, 4, 5)


@dataclass(frozen=True)
class Batch:
    """Pictures in [-1, 1], n-grams padded with 0, and what is asked: class numbers (B,) or angles (B,)."""

    x_B3SS: Tensor
    grams_BG: Tensor
    target_B: Tensor


class FusedBatches:
    """All samples, with the order to draw them in."""

    def __init__(self, whole: Batch, weights_N: Tensor, batch: int, seed: int) -> None:
        self._whole = whole
        self._order = Order(weights_N, batch, seed, "fused")

    def at(self, step: int) -> Batch:
        """The batch of a step."""
        rows_B = self._order.at(step)
        return Batch(self._whole.x_B3SS[rows_B], self._whole.grams_BG[rows_B], self._whole.target_B[rows_B])


class Fused(Model):
    """The model.

    Args:
        config: sizes.
        classes: answers that it can give; empty for a number.
    """

    Config = FusedConfig
    config: FusedConfig

    def __init__(self, config: FusedConfig, classes: Sequence[str]) -> None:
        super().__init__()
        self.config, self.classes = config, tuple(classes)
        layers: list[nn.Module] = []
        channels = 3
        for out in (config.width, 2 * config.width, 2 * config.width):
            layers += [nn.Conv2d(channels, out, 3, 2, 1), nn.GroupNorm(4, out), nn.SiLU()]
            layers += [nn.Conv2d(out, out, 3, 1, 1), nn.GroupNorm(4, out), nn.SiLU()]
            channels = out
        side = -(-config.image_px // 8)
        self.see = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * side**2, config.features))
        self.gram = nn.Embedding(config.rows + 1, config.features, padding_idx=0)
        self.read = nn.Sequential(nn.SiLU(), nn.Linear(config.features, config.features))
        self.missing = nn.Parameter(torch.zeros(2, config.features))
        self.head = nn.Sequential(
            nn.SiLU(),
            nn.Linear(config.features, 2 * config.features),
            nn.SiLU(),
            nn.Linear(2 * config.features, len(classes) or 2),
        )
        nn.init.normal_(self.gram.weight, std=0.05)
        with torch.no_grad():
            self.gram.weight[0] = 0

    @classmethod
    def fit(cls, config: FusedConfig, corpus: Corpus, data: DataConfig, rng: torch.Generator) -> Self:
        """First weights from `rng`; the classes are those of the corpus."""
        classes = [] if config.period else sorted({str(value) for value in corpus.values(config.target)})
        with seeded(rng):
            return cls(config, classes)

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """The module that `facts` describes, its weights still to be loaded."""
        return cls(FusedConfig(**facts["config"]), facts["classes"])

    def facts(self) -> dict[str, Any]:
        """What `from_facts` needs, as JSON values."""
        return {"config": asdict(self.config), "classes": list(self.classes)}

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """An answer in words from a picture, a text, or both."""
        return (("image", "text"), ("text", "text"), ("text and image", "text"))

    def batches(self, corpus: Corpus, seed: int) -> FusedBatches:
        """Batches of `corpus`; its captions are of the first language that it has."""
        language = min(corpus.facts[0]["captions"], key=lambda name: (name != "en", name))
        values = corpus.values(self.config.target)
        if self.config.period:
            target_N = torch.tensor([2 * math.pi * float(value) / self.config.period for value in values])
        else:
            target_N = torch.tensor([self.classes.index(str(value)) for value in values])
        whole = Batch(to_tensor(corpus.images(self.config.image_px)), self._grams(corpus.captions(language)), target_N)
        return FusedBatches(whole, torch.tensor(corpus.variants()) ** -0.5, self.config.batch, seed)

    def objectives(self, batch: Batch) -> dict[str, Loss]:
        """The two halves of the batch, each half of the loss."""
        middle = len(batch.target_B) // 2
        halves = {"first": slice(0, middle), "second": slice(middle, None)}
        return {
            name: partial(self._half, Batch(batch.x_B3SS[rows], batch.grams_BG[rows], batch.target_B[rows]))
            for name, rows in halves.items()
        }

    def _half(self, batch: Batch, rng: torch.Generator) -> Tensor:
        by = self.config.shift
        across, down = torch.randint(-by, by + 1, (2,), generator=rng).tolist()
        x_B3SS = F.pad(batch.x_B3SS, (by, by, by, by), mode="replicate")
        side = self.config.image_px
        x_B3SS = x_B3SS[:, :, by + down : by + down + side, by + across : by + across + side]
        kind_B = torch.rand(len(x_B3SS), generator=rng) / max(self.config.alone, 1e-9)
        out_BK = self._answer(x_B3SS, batch.grams_BG, kind_B >= 0.5, (kind_B < 0.5) | (kind_B >= 1))
        if self.classes:
            return 0.5 * F.cross_entropy(out_BK, batch.target_B, label_smoothing=0.05)
        return 0.5 * (out_BK - torch.stack([batch.target_B.cos(), batch.target_B.sin()], 1)).square().sum(1).mean()

    def _answer(self, x_B3SS: Tensor, grams_BG: Tensor, seen_B: Tensor, told_B: Tensor) -> Tensor:
        """Logits (B, K), or a point near the unit circle (B, 2), from what is shown of each sample."""
        image_BF, text_BF = self.see(x_B3SS), self.gram(grams_BG).sum(1)
        text_BF = self.read(text_BF / (grams_BG != 0).sum(1, keepdim=True).clamp_min(1).sqrt())
        image_BF = torch.where(seen_B[:, None], image_BF, self.missing[0])
        text_BF = torch.where(told_B[:, None], text_BF, self.missing[1])
        out_BK: Tensor = self.head(image_BF + text_BF)
        return out_BK

    def generate(
        self, given: Mapping[str, Sequence[Any]], to: str, n: int, *, seed: int, options: Mapping[str, Any]
    ) -> list[str]:
        """The likeliest class, or the number with its unit, of each."""
        out_NK = self.answers(given, n)
        if self.classes:
            return [self.classes[place] for place in out_NK.argmax(1).tolist()]
        return [f"{number:.0f} {self.config.unit}".strip() for number in self.numbers(out_NK)]

    @torch.no_grad()
    def answers(self, given: Mapping[str, Sequence[Any]], n: int) -> Tensor:
        """Logits (N, K), or points (N, 2)."""
        side, rows = self.config.image_px, []
        for start in range(0, n, CHUNK):
            part = {name: things[start : start + CHUNK] for name, things in given.items()}
            count = min(CHUNK, n - start)
            x_B3SS, grams_BG = torch.zeros(count, 3, side, side), torch.zeros(count, 1, dtype=torch.long)
            if "image" in part:
                x_B3SS = to_tensor([resize(picture, side) for picture in part["image"]])
            if "text" in part:
                grams_BG = self._grams(part["text"])
            seen_B, told_B = (torch.full((count,), name in part) for name in ("image", "text"))
            rows.append(self._answer(x_B3SS, grams_BG, seen_B, told_B))
        return torch.cat(rows)

    def numbers(self, points_N2: Tensor) -> list[float]:
        """Numbers from 0 to the period of points on the circle."""
        turns_N = torch.atan2(points_N2[:, 1], points_N2[:, 0]) / (2 * math.pi)
        return [float(number) for number in (turns_N % 1) * self.config.period]

    def preview(self, corpus: Corpus, seed: int) -> list[Example]:
        """Answers to the same pictures each time."""
        rows = spread(len(corpus), PREVIEW)
        pictures = [corpus.images(self.config.image_px)[row] for row in rows]
        said = self.generate({"image": pictures}, "text", len(rows), seed=seed, options={})
        return [Example(answer, {"picture": picture}) for answer, picture in zip(said, pictures, strict=True)]

    def _grams(self, texts: Sequence[str]) -> Tensor:
        """Rows (N, G) of the n-grams of each text, from 1 on, padded with 0.

        Raises:
            DataError: a text without a letter.
        """
        found = []
        for text in texts:
            whole = f" {' '.join(text.lower().split())} "
            if len(whole) < min(_NGRAMS):
                raise DataError(f"text {text!r} is empty; write a caption")
            grams = {whole[at : at + size] for size in _NGRAMS for at in range(len(whole) - size + 1)}
            # crc32 spreads well and is the same everywhere; Python's own hash is not.
            found.append(torch.tensor(sorted(1 + zlib.crc32(gram.encode()) % self.config.rows for gram in grams)))
        return nn.utils.rnn.pad_sequence(found, batch_first=True)
