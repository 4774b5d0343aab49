"""Use a trained model: any modality that it knows in, any out.

generator = Generator.load(Path("runs/champion"))
pictures = generator.generate(text="red heart", to="image", n=4, seed=0)     # list of (S, S, 3) uint8
captions = generator.generate(image=pictures[0], to="text")                  # list of one string
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mmgen import models
from mmgen.data.order import generator
from mmgen.errors import ConfigError, unknown
from mmgen.files import is_sealed, open_sealed
from mmgen.modalities import image as images
from mmgen.modalities.image import Picture

CHUNK = 256
"""Most captions or pictures in one pass of the model: bounds memory."""


class Generator:
    """A model with its own words and sizes.

    Args:
        model: from `mmgen.models`.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    @classmethod
    def load(cls, folder: Path) -> Generator:
        """Load a model folder; when it, or the folder around it, is sealed, every byte is verified first.

        Raises:
            StorageError: missing, cut short or altered.
        """
        for sealed in (folder, folder.parent):
            if is_sealed(sealed):
                open_sealed(sealed)
        inner = folder / "model"
        return cls(models.load(inner if (inner / models.CONFIG).is_file() else folder))

    def generate(
        self,
        *,
        text: str | None = None,
        image: Picture | None = None,
        to: str,
        n: int = 1,
        seed: int = 0,
        language: str | None = None,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> list[Any]:
        """Turn one thing into another.

        Args:
            text: a caption, or
            image: a picture, (H, W, 3) uint8.
            to: modality that is wanted.
            n: how many; captions are the likeliest ones, so one is all there is.
            seed: of the noise. Same seed, same picture, whatever `n` is.
            language: of the caption; the model's first by default.
            steps: Euler steps, the model's own by default.
            guidance: strength of the caption, the model's own by default.

        Returns:
            `n` pictures (S, S, 3) uint8, or a list of one caption.

        Raises:
            ConfigError: the model does not know this pair or language.
        """
        given = {name: value for name, value in (("text", text), ("image", image)) if value is not None}
        pairs = {f"{source} to {target}": (source, target) for source, target in self.model.pairs()}
        wanted = f"{' and '.join(given) or 'nothing'} to {to}"
        if wanted not in pairs:
            raise ConfigError(unknown("pair", wanted, pairs))
        if n < 1:
            raise ConfigError(f"n must be at least 1, got {n}")
        if text is not None:
            prompts = [text] * n
            return list(self.draw(prompts, seed=seed, language=language, steps=steps, guidance=guidance))
        return self.describe([image] if image is not None else [], language=language)

    def draw(
        self,
        captions: Sequence[str],
        *,
        seed: int,
        language: str | None = None,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> list[Picture]:
        """One picture for each caption. The noise of a picture depends on its place and the seed alone."""
        length = self.model.config.max_words
        rows = [self.model.vocabulary.encode(caption, self._language(language), length) for caption in captions]
        pictures: list[Picture] = []
        for start in range(0, len(rows), CHUNK):
            noise = torch.stack(
                [
                    torch.randn(self.model.config.components, generator=generator(seed, "noise", start + place))
                    for place in range(len(rows[start : start + CHUNK]))
                ]
            )
            drawn = self.model.draw(torch.tensor(rows[start : start + CHUNK]), noise, steps=steps, guidance=guidance)
            pictures += images.from_tensor(drawn)
        return pictures

    def describe(self, pictures: Sequence[Picture], *, language: str | None = None) -> list[str]:
        """A caption for each picture, the likeliest word each time."""
        start_word = self.model.vocabulary.start(self._language(language))
        size = self.model.config.image_px
        captions = []
        for start in range(0, len(pictures), CHUNK):
            tensor = images.to_tensor([images.resize(picture, size) for picture in pictures[start : start + CHUNK]])
            words = self.model.describe(tensor, start_word)
            captions += [self.model.vocabulary.decode(row) for row in words.tolist()]
        return captions

    def unknown_words(self, caption: str) -> dict[str, str]:
        """Words that training never saw, each with the nearest known one; such words say nothing to the model."""
        found: dict[str, str] = self.model.vocabulary.unknown(caption)
        return found

    def _language(self, language: str | None) -> str:
        known = self.model.languages
        if language is None:
            return str(known[0])
        if language not in known:
            raise ConfigError(unknown("language", language, known))
        return language
