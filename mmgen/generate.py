"""Use a trained model: any modality that it knows in, any out.

generator = Generator.load(Path("runs/champion"))
pictures = generator.generate(text="red heart", to="image", n=4, seed=0)     # list of (S, S, 3) uint8
captions = generator.generate(image=pictures[0], to="text")                  # list of one string
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmgen import models
from mmgen.errors import ConfigError, unknown
from mmgen.files import is_sealed, open_sealed
from mmgen.modalities.image import Picture
from mmgen.models.base import Model

if TYPE_CHECKING:
    from mmgen.modalities.music import Tune


class Generator:
    """A model, ready to be asked.

    Args:
        model: from `mmgen.models`.
    """

    def __init__(self, model: Model) -> None:
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
        sound: NDArray[np.float32] | None = None,
        video: NDArray[np.uint8] | None = None,
        music: Tune | None = None,
        to: str,
        n: int = 1,
        seed: int = 0,
        **options: Any,
    ) -> list[Any]:
        """Turn things into another; with nothing given, make one from nothing.

        Args:
            text: a caption, transcript or request.
            image: a picture, (H, W, 3) uint8.
            sound: (N,) float32 at 16 kHz.
            video: (T, H, W, 3) uint8.
            music: a tune.
            to: modality that is wanted; `all` where a model makes several that belong together.
            n: how many.
            seed: of the noise. Same seed, same things, whatever `n` is.
            options: of the family, such as `language`, `steps` or `guidance`; its own values by default.

        Returns:
            `n` things of modality `to`; for `all`, each is a dict by modality.

        Raises:
            ConfigError: the model does not know this pair, this option or its value.
        """
        things = {"text": text, "image": image, "sound": sound, "video": video, "music": music}
        given = {name: value for name, value in things.items() if value is not None}
        pairs = {(frozenset(source.split(" and ")), target): (source, target) for source, target in self.model.pairs()}
        if (frozenset(given or ("nothing",)), to) not in pairs:
            known = [f"{source} to {target}" for source, target in pairs.values()]
            raise ConfigError(unknown("pair", f"{' and '.join(given) or 'nothing'} to {to}", known))
        if n < 1:
            raise ConfigError(f"n must be at least 1, got {n}")
        asked = {name: value for name, value in options.items() if value is not None}
        for name in asked:
            if name not in self.model.options():
                raise ConfigError(unknown("option", name, self.model.options()))
            self._check(name, asked[name])
        copies = {name: [value] * n for name, value in given.items()}
        return self.model.generate(copies, to, n, seed=seed, options=asked)

    def _check(self, name: str, value: Any) -> None:
        """Raise when `value` is not of the kind that the option's field in the config is."""
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"option {name!r} is {value}; want a finite number")
        field = self.model.options()[name]
        usual = getattr(self.model.config, field) if field else None
        kinds: dict[type, tuple[Any, str]] = {
            int: (int, "a whole number above 0"), float: (int | float, "a number"), str: (str, "a word"),
        }  # fmt: skip
        kind, wanted = kinds.get(type(usual), (int | float | str, "a number or a word"))
        if isinstance(value, bool) or not isinstance(value, kind) or (kind is int and value < 1):
            raise ConfigError(f"option {name!r} is {str(value)[:40]!r}; want {wanted}, such as {usual}")

    def unknown_words(self, caption: str) -> dict[str, str]:
        """Words that training never saw, each with the nearest known one; such words say nothing to the model."""
        return self.model.unknown_words(caption)
