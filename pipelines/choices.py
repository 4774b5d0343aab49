"""Which recipe and which model a command uses: the named one, or that of `params.yaml`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmgen.errors import ConfigError

PARAMS = Path("params.yaml")
"""Names the default recipe; looked for where the command is started, like DVC does."""


def chosen(recipe: str | None, settings: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The recipe and settings to use: as given, or from `params.yaml` when no recipe is named.

    Raises:
        ConfigError: no recipe is named and `params.yaml` does not name one.
    """
    if recipe is not None:
        return recipe, tuple(settings)
    from mmgen.files import read_yaml

    if not PARAMS.is_file():
        raise ConfigError(f"no recipe is named and there is no {PARAMS} here; name one of: mmgen recipes")
    try:
        params = read_yaml(PARAMS)
        name, own = params["recipe"], params.get("settings") or {}
        if not isinstance(name, str) or not isinstance(own, dict):
            raise TypeError("recipe is a name, settings are names with values")
    except (ConfigError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{PARAMS} does not name a recipe ({reason}); write a line such as recipe: emoji") from error
    return name, (*_flat(own, ""), *settings)


def model_name(recipe: str | None) -> str:
    """Name under which the models of a recipe, or of the default one, are registered."""
    from mmgen.ops.registry import registry
    from mmgen.recipes import get

    name, at, data = (recipe or "").partition("@")
    return registry.model_name(get(*chosen(name or None, (f"data.name={data}",) if at else ())))


def model_folder(model: str, recipe: str | None, root: Path) -> Path:
    """Folder of the requested model: the given path, or the folder from the registry.

    Raises:
        ConfigError: there is no champion yet.
    """
    return named_model(model, recipe, root)[1]


def named_model(model: str, recipe: str | None, root: Path) -> tuple[str, Path]:
    """Name with version, or path, of the requested model, and its folder.

    Raises:
        ConfigError: there is no champion yet.
    """
    from mmgen.ops.registry import registry

    if Path(model).is_dir():
        inner = Path(model) / "model"  # the output of `mmgen train` has the model inside
        return model, inner if inner.is_dir() else Path(model)
    name = model_name(recipe)
    if model != "champion":
        return f"{name}/{model}", registry.fetch(root, name, model)
    found = registry.champion(root, name)
    if found is None:
        raise ConfigError(f"{name} has no champion yet; run: mmgen run, or name a version with --model")
    return f"{name}/{found[0].version}", found[1]


def _flat(settings: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """`{"training": {"steps": 5}}` as `training.steps=5`."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}={','.join(map(str, value))}"
        else:
            yield f"{prefix}{name}={str(value).lower() if isinstance(value, bool | None) else value}"
