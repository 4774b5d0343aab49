"""A split in memory: samples whose parts are decoded when a model or a judge asks for them.

A model takes what it needs (`images(28)`, `captions("en")`, `sounds()`), and what it does not ask for is never decoded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmgen.data.dataset import load
from mmgen.data.shards import Sample
from mmgen.errors import DataError, unknown
from mmgen.modalities import image, media, text

if TYPE_CHECKING:
    from mmgen.modalities.music import Tune


@dataclass(frozen=True)
class Corpus:
    """Samples of one split, in the order of their keys; every list that it gives has one entry a sample."""

    split: str
    samples: list[Sample]
    facts: list[dict[str, Any]]
    """What the json part of each sample says."""
    _decoded: dict[object, list[Any]] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def keys(self) -> list[str]:
        """Names of the samples."""
        return [sample.key for sample in self.samples]

    @property
    def concepts(self) -> list[str]:
        """What each sample shows, apart from its variant; its own key where the data set does not say."""
        return [str(facts.get("concept", sample.key)) for sample, facts in zip(self.samples, self.facts, strict=True)]

    @property
    def groups(self) -> list[str]:
        """The group that each sample belongs to."""
        return [str(facts.get("group", "")) for facts in self.facts]

    def variants(self) -> list[int]:
        """How many samples of the split share each sample's concept."""
        count = Counter(self.concepts)
        return [count[concept] for concept in self.concepts]

    def images(self, px: int) -> list[image.Picture]:
        """Pictures, (px, px, 3) uint8."""

        def decode(sample: Sample, name: str) -> image.Picture:
            return image.resize(image.read(self.part(sample, image.ENDINGS), name), px)

        return self._each(("images", px), decode)

    def sounds(self) -> list[NDArray[np.float32]]:
        """Sounds, (N,) float32 at 16 kHz."""
        return self._decoded_by("sound")

    def videos(self) -> list[NDArray[np.uint8]]:
        """Videos, (T, H, W, 3) uint8."""
        return self._decoded_by("video")

    def tunes(self) -> list[Tune]:
        """Music."""
        return self._decoded_by("music")

    def media(self, modalities: Sequence[str]) -> dict[str, list[Any]]:
        """What each sample has of each modality but text, pictures at 128 pixels: for people to look at."""
        found: dict[str, list[Any]] = {}
        for modality in modalities:
            if modality == "image":
                found[modality] = self.images(128)
            elif modality != "text":
                found[modality] = self._decoded_by(modality)
        return found

    def captions(self, language: str) -> list[str]:
        """Captions in one language.

        Raises:
            DataError: a sample has none.
        """
        found = []
        for sample, facts in zip(self.samples, self.facts, strict=True):
            captions = facts.get("captions")
            captions = captions if isinstance(captions, dict) else {}
            if language not in captions:
                known = ", ".join(sorted(captions))
                raise DataError(f"{self.name(sample)!r} has no caption in {language!r}; it has: {known}")
            found.append(text.check(str(captions[language]), self.name(sample)))
        return found

    def values(self, name: str) -> list[Any]:
        """What the json part of each sample says under `name`.

        Raises:
            DataError: a sample does not have it.
        """
        for sample, facts in zip(self.samples, self.facts, strict=True):
            if name not in facts:
                raise DataError(unknown(f"field of {self.name(sample)!r}", name, sorted(facts)))
        return [facts[name] for facts in self.facts]

    def take(self, rows: Sequence[int]) -> Corpus:
        """Some of the samples, in the order of `rows`; what was decoded stays so."""
        return Corpus(
            self.split,
            [self.samples[row] for row in rows],
            [self.facts[row] for row in rows],
            {key: [values[row] for row in rows] for key, values in self._decoded.items()},
        )

    def name(self, sample: Sample) -> str:
        """What to call a sample in an error."""
        return f"{self.split}/{sample.key}"

    def part(self, sample: Sample, endings: Sequence[str]) -> bytes:
        """The bytes of the first of `endings` that a sample has.

        Raises:
            DataError: it has none of them.
        """
        for ending in endings:
            if ending in sample.parts:
                return sample.parts[ending]
        raise DataError(f"{self.name(sample)!r} has no {endings[0]} part; it has: {', '.join(sorted(sample.parts))}")

    def _decoded_by(self, modality: str) -> list[Any]:
        reader, endings = media.module(modality), media.endings(modality)
        return self._each(modality, lambda sample, name: reader.read(self.part(sample, endings), name))

    def _each(self, key: object, decode: Any) -> list[Any]:
        if key not in self._decoded:
            self._decoded[key] = [decode(sample, self.name(sample)) for sample in self.samples]
        return self._decoded[key]


def load_corpus(folder: Path, split: str, skip: Collection[str] = ()) -> Corpus:
    """Read a split; every shard's sha256 is checked on the way.

    Args:
        folder: a data set.
        split: its name on the card.
        skip: keys to leave out, such as those that validation set aside.

    Raises:
        DataError: a shard or sample is bad, or nothing is left.
    """
    samples = [sample for sample in load(folder).split(split) if sample.key not in skip]
    if not samples:
        raise DataError(f"split {split!r} of {str(folder)!r} has no samples left; build or import the data again")
    return Corpus(split, samples, [sample.facts() for sample in samples])
