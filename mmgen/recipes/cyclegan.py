"""CycleGAN between two emoji styles."""

from __future__ import annotations

from mmgen.data.config import DataConfig
from mmgen.evaluation.config import EvaluationConfig
from mmgen.models.cyclegan.config import CycleGANConfig
from mmgen.recipes.recipe import Recipe
from mmgen.training.config import TrainingConfig


def cyclegan(size: str = "default") -> Recipe:
    """Twemoji to OpenMoji and back, learned from drawings of different concepts.

    Source: Zhu et al. 2017, arXiv:1703.10593.
    """
    return Recipe(
        name="cyclegan",
        size=size,
        data=DataConfig(name="styles"),
        model=CycleGANConfig(),
        training=TrainingConfig(
            steps=400 if size == "small" else 1500,
            lr=1e-3,
            beta1=0.5,
            beta2=0.99,
            weight_decay=0.0,
            warmup=20,
            clip=100.0,
            ema=0.99 if size == "small" else 0.995,
            sample_every=250,
            threads=1,
        ),
        evaluation=EvaluationConfig(task="transfer"),
    )
