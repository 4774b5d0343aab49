"""Named runs. To add one: write its file with a function of the same name, add its name below."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from mmgen.errors import ConfigError, unknown
from mmgen.recipes.recipe import Recipe, describe, override

NAMES = ("emoji",)
"""Recipes, the default first. Each module is imported only when its recipe is asked for."""


def get(name: str, settings: Sequence[str] = ()) -> Recipe:
    """The recipe called `name` with `section.field=value` settings applied.

    Raises:
        ConfigError: unknown recipe, unknown setting, value of the wrong type or out of range.
    """
    if name not in NAMES:
        raise ConfigError(unknown("recipe", name, NAMES))
    module = importlib.import_module(f"mmgen.recipes.{name}")
    recipe: Recipe = getattr(module, name)()
    return override(recipe, settings)


__all__ = ["NAMES", "Recipe", "describe", "get"]
