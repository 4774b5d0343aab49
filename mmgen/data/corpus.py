"""A split in memory: decoded pictures and captions, ready for models and judges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from mmgen.data.dataset import load
from mmgen.errors import DataError
from mmgen.modalities import image, text


@dataclass(frozen=True)
class Corpus:
    """Samples of one split, in the order of their keys; every list has one entry a sample."""

    keys: list[str]
    images: list[image.Picture]
    """(S, S, 3) uint8, all of one size."""
    captions: dict[str, list[str]]
    """By language."""
    concepts: list[str]
    groups: list[str]

    def __len__(self) -> int:
        return len(self.keys)

    def variants(self) -> list[int]:
        """How many samples of the split share each sample's concept."""
        count = Counter(self.concepts)
        return [count[concept] for concept in self.concepts]


def load_corpus(
    folder: Path, split: str, image_px: int, languages: Collection[str], skip: Collection[str] = ()
) -> Corpus:
    """Decode a split; every shard's sha256 is checked on the way.

    Args:
        folder: a data set.
        split: its name on the card.
        image_px: side that pictures are brought to.
        languages: captions to keep.
        skip: keys to leave out, such as those that validation set aside.

    Raises:
        DataError: a shard or sample is bad, a caption is missing, or nothing is left.
    """
    keys, images, concepts, groups = [], [], [], []
    captions: dict[str, list[str]] = {language: [] for language in languages}
    for sample in load(folder).split(split):
        if sample.key in skip:
            continue
        name = f"{split}/{sample.key}"
        facts = sample.facts()
        if "png" not in sample.parts:
            raise DataError(f"{name!r} has no picture; it has: {', '.join(sorted(sample.parts))}")
        for language in languages:
            if language not in facts.get("captions", {}):
                known = ", ".join(sorted(facts.get("captions", {})))
                raise DataError(f"{name!r} has no caption in {language!r}; it has: {known}")
            captions[language].append(text.read(str(facts["captions"][language]).encode(), name))
        keys.append(sample.key)
        images.append(image.resize(image.read(sample.parts["png"], name), image_px))
        concepts.append(str(facts.get("concept", sample.key)))
        groups.append(str(facts.get("group", "")))
    if not keys:
        raise DataError(f"split {split!r} of {str(folder)!r} has no samples left; build or import the data again")
    return Corpus(keys, images, captions, concepts, groups)
