"""The models. To add one: write its file, add its line to `MODELS`.

A model is a `torch.nn.Module` with these methods; it does no I/O, logs nothing and names no device:

    fit(config, corpus, languages, rng)   classmethod: a model with all that is not learned by steps
                                          (vocabulary, codec) and its first weights
    batches(corpus, seed)                 an object whose `at(step)` is the batch of that step, from the step alone
    objectives(batch)                     named losses, each a function of a generator; their sum is minimised,
                                          and each may be computed on a core of its own
    facts() / from_facts(facts)           what JSON must hold to rebuild the module before its weights are read
    pairs()                               (source, target) modalities
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from mmgen.errors import ConfigError, StorageError, unknown
from mmgen.files import read_json, write_json
from mmgen.weights import load_tensors, save_tensors

if TYPE_CHECKING:  # recipes import configs from below this package: they must not wait for torch
    from collections.abc import Callable

    import torch
    from torch import Tensor, nn

    from mmgen.data.corpus import Corpus

MODELS = {
    "anyto": "mmgen.models.anyto.model:AnyTo",
}
"""Family -> where its class stands. Imported only when asked for: most runs need one."""

CONFIG, WEIGHTS = "config.json", "weights.safetensors"


class Batches(Protocol):
    """Where batches come from."""

    def at(self, step: int) -> Any:
        """The batch of a step. Nothing is remembered between calls, so a resumed run sees the same ones."""


class Model(Protocol):
    """What training and generation ask of a model, beside being a module."""

    @classmethod
    def fit(cls, config: Any, corpus: Corpus, languages: tuple[str, ...], rng: torch.Generator) -> Self: ...
    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self: ...
    @staticmethod
    def pairs() -> tuple[tuple[str, str], ...]: ...
    def facts(self) -> dict[str, Any]: ...
    def batches(self, corpus: Corpus, seed: int) -> Batches: ...
    def objectives(self, batch: Any) -> dict[str, Callable[[torch.Generator], Tensor]]: ...


def model_class(family: str) -> Any:
    """The class of a family.

    Raises:
        ConfigError: there is no such family.
    """
    if family not in MODELS:
        raise ConfigError(unknown("model family", family, MODELS))
    module, _, name = MODELS[family].partition(":")
    return getattr(importlib.import_module(module), name)


def save(model: Any, folder: Path) -> None:
    """Write `config.json` and `weights.safetensors`."""
    write_json(folder / CONFIG, {"family": model.config.family, **model.facts()})
    save_tensors(folder / WEIGHTS, model.state_dict())


def load(folder: Path) -> nn.Module:
    """Rebuild a model from a folder that `save` wrote.

    Raises:
        StorageError: a file is missing or does not fit the other.
    """
    facts = read_json(folder / CONFIG)
    model: nn.Module = model_class(facts.get("family", "")).from_facts(facts)
    try:
        model.load_state_dict(load_tensors(folder / WEIGHTS))
    except RuntimeError as error:  # names or shapes differ
        reason = " ".join(str(error).split())[:200]
        raise StorageError(f"{str(folder / WEIGHTS)!r} cannot be loaded: {reason}") from error
    return model.eval()
