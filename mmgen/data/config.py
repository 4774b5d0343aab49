"""Which data a run reads, and how much of it may be bad."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmgen.errors import ConfigError

LANGUAGES = ("ar", "de", "en", "es", "fa", "fr", "id", "it", "ja", "ko", "pt", "ru", "tr", "zh")
"""Languages of the captions in the `emoji` data set."""


NAME = re.compile(r"[a-z][a-z0-9_]{1,31}")
"""Of a data set: it becomes a folder, a tag and part of a model's name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Data of a run."""

    name: str = "emoji"
    """Folder below `data/`."""
    languages: tuple[str, ...] = ("en",)
    """Caption languages to learn; the first one is the language of evaluation."""
    quarantine: float = 0.0
    """Largest share of training samples that validation may set aside instead of stopping the run, 0 to 0.1."""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ConfigError(f"data.name={self.name[:80]!r}: two to 32 of a-z, 0-9 and _, beginning with a letter")
        if not self.languages:
            raise ConfigError("data.languages is empty; name at least one, such as en")
        if not 0 <= self.quarantine <= 0.1:
            raise ConfigError(f"data.quarantine must be between 0 and 0.1, got {self.quarantine}")
