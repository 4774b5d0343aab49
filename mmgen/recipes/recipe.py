"""A recipe is the whole description of a run: data, model, training, judge, evaluation.

Every default stands in the config class beside its owner; a recipe names only what differs, and
`--set section.field=value` overrides one field of it. Unknown names are errors with the nearest choice.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from mmgen.data.config import DataConfig
from mmgen.errors import ConfigError, unknown
from mmgen.evaluation.config import EvaluationConfig, JudgeConfig
from mmgen.recipes.limits import Limits
from mmgen.training.config import TrainingConfig

SIZES = ("default", "small")
"""Every recipe has both: the one for its scores, and one that shows in a few minutes that all of it works."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One named run, whole."""

    name: str
    """Also names the MLflow experiment `mmgen/<name>` and the registered model `mmgen-<name>`."""
    model: Any
    """Config of the model, a dataclass with `family`."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    judge: JudgeConfig = dataclasses.field(default_factory=JudgeConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
    limits: Limits = dataclasses.field(default_factory=Limits)
    seed: int = 0
    """Seeds every generator of the run. Same seed, same bytes on one kind of CPU."""
    size: str = SIZES[0]
    """One of `SIZES`; the settings above are what it stands for."""


def override(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """Apply `section.field=value` settings in order.

    Raises:
        ConfigError: no `=`, an unknown section or field, a value of the wrong type.
    """
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"setting {setting!r} has no '='; write it as model.width=256")
        recipe = _set(recipe, path.strip().split("."), text.strip(), path.strip())
    return recipe


def assign(config: Any, field: str, text: str) -> Any:
    """A config with one field read from `text`.

    Raises:
        ConfigError: a value of the wrong type, or one that the config refuses.
    """
    return _set(config, [field], text, field)


def describe(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain JSON values: what keys are made of and what MLflow shows. Its limits change no output."""
    value = dataclasses.asdict(recipe)
    del value["limits"]
    return typing.cast(dict[str, Any], _plain(value))


def _set(config: Any, path: list[str], text: str, full: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(config)}
    name, rest = path[0], path[1:]
    if name not in fields or (name == "name" and isinstance(config, Recipe)):
        choices = [key for key in fields if key != "name" or not isinstance(config, Recipe)]
        prefix = full[: len(full) - len(".".join(path))]
        raise ConfigError(unknown("setting", full, [prefix + key for key in choices]))
    current = getattr(config, name)
    if dataclasses.is_dataclass(current):
        if not rest:
            inner = ", ".join(f"{full}.{f.name}" for f in dataclasses.fields(current))
            raise ConfigError(f"setting {full!r} is a section; choose from: {inner}")
        return dataclasses.replace(config, **{name: _set(current, rest, text, full)})
    if rest:
        raise ConfigError(f"setting {full!r}: {name!r} has no fields; write {name}=value")
    hint = get_type_hints(type(config))[name]
    return dataclasses.replace(config, **{name: _parse(text, hint, full)})


def _parse(text: str, hint: Any, full: str) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        if text.lower() == "none" and type(None) in get_args(hint):
            return None
        hint = next(arg for arg in get_args(hint) if arg is not type(None))
    if get_origin(hint) is tuple:
        return tuple(_parse(part, get_args(hint)[0], full) for part in text.split(",") if part)
    if hint is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise ConfigError(f"setting {full}={text!r}: expected true or false")
    try:
        return hint(text)
    except (TypeError, ValueError):
        raise ConfigError(f"setting {full}={text!r}: expected {hint.__name__}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return value
