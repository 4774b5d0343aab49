"""The default recipe: text to image and image to text on Twemoji, one model, minutes on two cores."""

from __future__ import annotations

from mmgen.models.anyto.config import AnyToConfig
from mmgen.recipes.recipe import Recipe
from mmgen.training.config import TrainingConfig


def emoji() -> Recipe:
    """Any-to-any generator of emoji and captions (`mmgen.models.anyto`)."""
    return Recipe(name="emoji", model=AnyToConfig(), training=TrainingConfig(steps=2400))
