"""Which data a run reads, and how much of it may be bad."""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.errors import ConfigError

LANGUAGES = ("ar", "de", "en", "es", "fa", "fr", "id", "it", "ja", "ko", "pt", "ru", "tr", "zh")
"""Languages of the captions in the `emoji` data set."""


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
        if not self.languages:
            raise ConfigError("data.languages is empty; name at least one, such as en")
        if not 0 <= self.quarantine <= 0.1:
            raise ConfigError(f"data.quarantine must be between 0 and 0.1, got {self.quarantine}")
