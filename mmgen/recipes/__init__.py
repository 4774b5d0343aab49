"""Named runs. To add one: write a function in a file here, add its line to `RECIPES`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from typing import Any

from mmgen.errors import ConfigError, unknown
from mmgen.recipes.recipe import SIZES, Recipe, describe, override

RECIPES = {
    "emoji": "mmgen.recipes.emoji:emoji",
    "listen": "mmgen.recipes.listen:listen",
    "speak": "mmgen.recipes.speak:speak",
    "emoji-tokens": "mmgen.recipes.emoji_tokens:emoji_tokens",
    "show-and-tell": "mmgen.recipes.show_and_tell:show_and_tell",
    "moving": "mmgen.recipes.moving:moving",
    "translate": "mmgen.recipes.translate:translate",
    "summarise": "mmgen.recipes.summarise:summarise",
    "tunes": "mmgen.recipes.tunes:tunes",
    "chorales": "mmgen.recipes.chorales:chorales",
    "gan": "mmgen.recipes.gan:gan",
    "gan-wasserstein": "mmgen.recipes.gan:gan_wasserstein",
    "dcgan": "mmgen.recipes.gan:dcgan",
    "cyclegan": "mmgen.recipes.cyclegan:cyclegan",
    "vae": "mmgen.recipes.vae:vae",
    "beta-vae": "mmgen.recipes.vae:beta_vae",
    "conditional-vae": "mmgen.recipes.vae:conditional_vae",
    "classify": "mmgen.recipes.classify:classify",
    "regress": "mmgen.recipes.classify:regress",
    "fusion": "mmgen.recipes.fusion:fusion",
}
"""Name -> its function, the default first. Each module is imported only when its recipe is asked for."""

NAMES = tuple(RECIPES)


def get(name: str, settings: Sequence[str] = ()) -> Recipe:
    """The recipe called `name` with `section.field=value` settings applied.

    `size=small` is not one setting but another choice of many, so it is applied before all others, wherever it stands.

    Raises:
        ConfigError: unknown recipe, unknown setting, value of the wrong type or out of range.
    """
    sizes = [setting for setting in settings if setting.partition("=")[0].strip() == "size"]
    size = sizes[-1].partition("=")[2].strip() if sizes else SIZES[0]
    if size not in SIZES:
        raise ConfigError(unknown("size", size, SIZES))
    recipe: Recipe = _function(name)(size)
    return override(recipe, [setting for setting in settings if setting not in sizes])


def on_own_data(recipe: Recipe) -> bool:
    """Whether the recipe learns the data set that it was made for, not one that the user named."""
    return bool(recipe.data.name == get(recipe.name).data.name)


def about(name: str) -> str:
    """What the recipe's author says of it: papers, minutes, scores reached."""
    return inspect.getdoc(_function(name)) or ""


def _function(name: str) -> Any:
    if name not in RECIPES:
        raise ConfigError(unknown("recipe", name, NAMES))
    module, _, function = RECIPES[name].partition(":")
    return getattr(importlib.import_module(module), function)


__all__ = ["NAMES", "RECIPES", "Recipe", "about", "describe", "get", "on_own_data"]
