"""The models. To add one: write its file, add its line to `MODELS`. `mmgen.models.base` says what a model is."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.errors import ConfigError, StorageError, unknown
from mmgen.files import read_json, write_json
from mmgen.weights import load_tensors, save_tensors

if TYPE_CHECKING:  # recipes import configs from below this package: they must not wait for torch
    from mmgen.models.base import Model

MODELS = {
    "anyto": "mmgen.models.anyto.model:AnyTo",
    "showtell": "mmgen.models.captioner.model:ShowTell",
    "tokens": "mmgen.models.tokens.model:Tokens",
    "clips": "mmgen.models.video.model:Clips",
    "rewriter": "mmgen.models.seq2seq.model:Rewriter",
    "melody": "mmgen.models.abc.model:Melody",
    "rolls": "mmgen.models.piano_rolls.model:Rolls",
    "gan": "mmgen.models.gan.model:GAN",
    "vae": "mmgen.models.vae.model:VAE",
    "fused": "mmgen.models.classifier.model:Fused",
    "fusion": "mmgen.models.multimodal_vae.model:Fusion",
    "listener": "mmgen.models.asr.model:Listener",
    "speaker": "mmgen.models.tts.model:Speaker",
    "cyclegan": "mmgen.models.cyclegan.model:CycleGAN",
}
"""Family -> where its class stands. Imported only when asked for: most runs need one."""

CONFIG, WEIGHTS = "config.json", "weights.safetensors"


def model_class(family: str) -> type[Model]:
    """The class of a family.

    Raises:
        ConfigError: there is no such family.
    """
    if family not in MODELS:
        raise ConfigError(unknown("model family", family, MODELS))
    module, _, name = MODELS[family].partition(":")
    found: type[Model] = getattr(importlib.import_module(module), name)
    return found


def save(model: Any, folder: Path) -> None:
    """Write `config.json` and `weights.safetensors`."""
    write_json(folder / CONFIG, {"family": model.config.family, **model.facts()})
    save_tensors(folder / WEIGHTS, model.state_dict())


def load(folder: Path) -> Model:
    """Rebuild a model from a folder that `save` wrote.

    Raises:
        StorageError: a file is missing or does not fit the other.
    """
    facts = _facts(folder)
    try:
        model = model_class(facts.get("family", "")).from_facts(facts)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StorageError(f"{str(folder / CONFIG)!r} describes no model: {type(error).__name__} {reason}") from error
    try:
        model.load_state_dict(load_tensors(folder / WEIGHTS))
    except RuntimeError as error:  # names or shapes differ
        reason = " ".join(str(error).split())[:200]
        raise StorageError(f"{str(folder / WEIGHTS)!r} cannot be loaded: {reason}") from error
    return model.eval()


def _facts(folder: Path) -> dict[str, Any]:
    facts = read_json(folder / CONFIG)
    if not isinstance(facts, dict) or not isinstance(facts.get("family"), str):
        raise StorageError(f"{str(folder / CONFIG)!r} names no family of models")
    return facts


def load_as(folder: Path, config: Any) -> Model:
    """A saved model that goes on to learn, with the settings of `config`; those that no weight depends on may differ.

    Raises:
        ConfigError: another family, or a size differs.
        StorageError: as for `load`.
    """
    facts = _facts(folder)
    if facts.get("family") != config.family:
        raise ConfigError(f"a model of family {facts.get('family')!r} cannot start one of family {config.family!r}")
    wanted = dataclasses.asdict(config)
    model = model_class(config.family).from_facts({**facts, "config": wanted})
    try:
        model.load_state_dict(load_tensors(folder / WEIGHTS))
    except RuntimeError as error:
        differing = [f"model.{name}={value!r}" for name, value in facts["config"].items() if wanted.get(name) != value]
        raise ConfigError(
            f"the first weights have other sizes than the recipe; they were learned with {', '.join(differing)}"
        ) from error
    return model
