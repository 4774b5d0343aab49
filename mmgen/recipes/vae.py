"""VAEs on handwritten digits: the plain one, beta-VAE, and the conditional one."""

from __future__ import annotations

from mmgen.data.config import DataConfig
from mmgen.evaluation.config import EvaluationConfig, JudgeConfig
from mmgen.models.vae.config import VAEConfig
from mmgen.recipes.recipe import Recipe
from mmgen.training.config import TrainingConfig


def vae(size: str = "default") -> Recipe:
    """Pictures through twenty numbers and back.

    Source: Kingma and Welling 2013, arXiv:1312.6114.
    """
    return _recipe("vae", size, VAEConfig())


def beta_vae(size: str = "default") -> Recipe:
    """The same with four times the price on what the numbers carry: fewer of them are used, each for one thing.

    Source: Higgins et al. 2017, beta-VAE, openreview Sy2fzU9gl.
    """
    return _recipe("beta-vae", size, VAEConfig(beta=4.0))


def conditional_vae(size: str = "default") -> Recipe:
    """A VAE that is told the digit: the numbers hold the handwriting, and any digit can be asked for in it.

    Source: Sohn et al. 2015, Learning Structured Output Representation using Deep Conditional Generative Models.
    """
    return _recipe("conditional-vae", size, VAEConfig(classes=True))


def _recipe(name: str, size: str, model: VAEConfig) -> Recipe:
    steps = 1500 if size == "small" else 5000
    return Recipe(
        name=name,
        size=size,
        data=DataConfig(name="digits"),
        model=model,
        training=TrainingConfig(
            steps=steps, lr=1.5e-3, beta2=0.99, weight_decay=0.05, clip=100.0, flat=0.4, sample_every=1000
        ),
        judge=JudgeConfig(kind="classes", steps=400),
        evaluation=EvaluationConfig(task="latent"),
    )
