"""GAN: a generator that learns to make what a critic cannot tell from real pictures.

Two losses. `bce` (Goodfellow et al. 2014, arXiv:1406.2661) is the non-saturating form, log D(G(z)), on logits, with
the gradient penalty R1 at real pictures (Mescheder et al. 2018, arXiv:1801.04406), without which a small data set is
learned by heart by the critic. `wasserstein` is the critic's difference E[D(x)] - E[D(G(z))] with the penalty
(|grad D| - 1)^2 between real and made pictures (Gulrajani et al. 2017, arXiv:1704.00028, eq. 3).

Unlike all of them, both players move in the same step, at the same weights: each has a core of its own. Real and made
pictures are shifted by the same law before the critic sees them (Zhao et al. 2020, arXiv:2006.10738).

Shapes here: B pictures, Z noise, K classes, S side, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus
from mmgen.data.order import Order, generator
from mmgen.errors import DataError, unknown
from mmgen.examples import Example
from mmgen.modalities.image import Picture, from_tensor, to_tensor
from mmgen.models.base import Loss, Model, Player, seeded
from mmgen.models.gan.config import GANConfig
from mmgen.models.gan.nets import Critic, Generator
from mmgen.models.shared.interpolation import arc, line

PREVIEW = 20
CHUNK = 256
"""Most pictures in one pass: bounds memory."""


@dataclass(frozen=True)
class Batch:
    """Real pictures and their classes, one-hot; `step` says whose turn it is."""

    step: int
    real_BCSS: Tensor
    class_BK: Tensor


class GANBatches:
    """All pictures and classes, with the order to draw them in."""

    def __init__(self, x_NCSS: Tensor, class_NK: Tensor, batch: int, seed: int) -> None:
        self._x_NCSS, self._class_NK = x_NCSS, class_NK
        self._order = Order(torch.ones(len(x_NCSS)), batch, seed, "gan")

    def at(self, step: int) -> Batch:
        """The batch of a step."""
        rows_B = self._order.at(step)
        return Batch(step, self._x_NCSS[rows_B], self._class_NK[rows_B])


class GAN(Model):
    """The two players.

    Args:
        config: sizes and losses.
        classes: words that can be asked for, in the order of their one-hot places.
    """

    Config = GANConfig
    config: GANConfig

    def __init__(self, config: GANConfig, classes: Sequence[str]) -> None:
        super().__init__()
        self.config, self.classes = config, tuple(classes)
        self.generator = Generator(config, len(classes))
        self.critic = Critic(config, len(classes))

    @classmethod
    def fit(cls, config: GANConfig, corpus: Corpus, data: DataConfig, rng: torch.Generator) -> Self:
        """Both players with first weights from `rng`; the classes are the concepts of the corpus."""
        with seeded(rng):
            return cls(config, sorted(set(corpus.concepts)) if config.classes else ())

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """The module that `facts` describes, its weights still to be loaded."""
        return cls(GANConfig(**facts["config"]), facts["classes"])

    def facts(self) -> dict[str, Any]:
        """What `from_facts` needs, as JSON values."""
        return {"config": asdict(self.config), "classes": list(self.classes)}

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """A picture from nothing; with classes, from a class's word too."""
        from_words = (("text", "image"),) if self.config.classes else ()
        return (*from_words, ("nothing", "image"))

    def batches(self, corpus: Corpus, seed: int) -> GANBatches:
        """Batches of `corpus`."""
        x_NCSS = to_tensor(corpus.images(self.config.image_px))
        if self.config.channels == 1:
            x_NCSS = x_NCSS.mean(1, keepdim=True)
        return GANBatches(x_NCSS, self._one_hot(corpus.concepts), self.config.batch, seed)

    def objectives(self, batch: Batch) -> dict[str, Loss]:
        """`critic`: what it loses; `generator`: what it loses, every `critic_steps` steps."""
        losses: dict[str, Loss] = {"critic": Player(partial(self._critic_loss, batch), self.critic)}
        if batch.step % self.config.critic_steps == 0:
            losses["generator"] = Player(partial(self._generator_loss, batch), self.generator)
        return losses

    def _critic_loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        with torch.no_grad():
            made_BCSS = self._shifted(self._made(batch, rng), rng)
        real_BCSS = self._shifted(batch.real_BCSS, rng)
        if self.config.loss == "bce":
            real_BCSS.requires_grad_()
            real_B, made_B = (self.critic(x_BCSS, batch.class_BK) for x_BCSS in (real_BCSS, made_BCSS))
            loss: Tensor = F.softplus(-real_B).mean() + F.softplus(made_B).mean()
            return loss + self.config.penalty / 2 * _slope(real_B, real_BCSS).square().mean()
        share_B = torch.rand(len(real_BCSS), 1, 1, 1, generator=rng)
        between_BCSS = (real_BCSS + share_B * (made_BCSS - real_BCSS)).requires_grad_()
        between_B = self.critic(between_BCSS, batch.class_BK)
        away: Tensor = self.critic(made_BCSS, batch.class_BK).mean() - self.critic(real_BCSS, batch.class_BK).mean()
        return away + self.config.penalty * (_slope(between_B, between_BCSS) - 1).square().mean()

    def _generator_loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        made_BCSS = self._shifted(self._made(batch, rng), rng)
        score_B: Tensor = self.critic(made_BCSS, batch.class_BK)
        return F.softplus(-score_B).mean() if self.config.loss == "bce" else -score_B.mean()

    def _made(self, batch: Batch, rng: torch.Generator) -> Tensor:
        noise_BZ = torch.randn(len(batch.real_BCSS), self.config.noise, generator=rng)
        made_BCSS: Tensor = self.generator(noise_BZ, batch.class_BK)
        return made_BCSS

    def _shifted(self, x_BCSS: Tensor, rng: torch.Generator) -> Tensor:
        """Each picture moved by up to `shift` pixels; what moves in repeats the edge."""
        by = self.config.shift
        if not by:
            return x_BCSS
        batch, side = len(x_BCSS), x_BCSS.shape[-1]
        move_B2 = torch.randint(-by, by + 1, (batch, 2), generator=rng)
        places_BS = (torch.arange(side)[None] + move_B2[:, :1]).clamp(0, side - 1)
        across_BS = (torch.arange(side)[None] + move_B2[:, 1:]).clamp(0, side - 1)
        rows_B = torch.arange(batch)[:, None, None]
        moved_BSSC = x_BCSS.permute(0, 2, 3, 1)[rows_B, places_BS[:, :, None], across_BS[:, None, :]]
        return moved_BSSC.permute(0, 3, 1, 2)

    @torch.no_grad()
    def generate(
        self, given: Mapping[str, Sequence[Any]], to: str, n: int, *, seed: int, options: Mapping[str, Any]
    ) -> list[Picture]:
        """Pictures, of the classes in `given["text"]` or of all in turn.

        Raises:
            DataError: a word that is no class.
        """
        words = given.get("text") or [
            self.classes[place % len(self.classes)] if self.classes else "" for place in range(n)
        ]
        class_NK = self._one_hot(words)
        pictures: list[Picture] = []
        for start in range(0, n, CHUNK):
            noise_BZ = torch.stack(
                [
                    torch.randn(self.config.noise, generator=generator(seed, "noise", place))
                    for place in range(start, min(start + CHUNK, n))
                ]
            )
            x_BCSS = self.generator(noise_BZ, class_NK[start : start + CHUNK])
            pictures += from_tensor(x_BCSS.expand(-1, 3, -1, -1))
        return pictures

    @torch.no_grad()
    def between(self, given: Mapping[str, Sequence[Any]], steps: int, *, seed: int) -> list[Picture]:
        """Pictures on the arc between the first two draws of noise.

        With classes, those of `given["text"]`, from one to the other.

        Raises:
            DataError: a word that is no class.
        """
        ends = [torch.randn(self.config.noise, generator=generator(seed, "noise", place)) for place in range(2)]
        class_2K = self._one_hot(given.get("text") or (self.classes[:1] or ("",)) * 2)
        x_SCDD = self.generator(arc(torch.stack(ends), steps), line(class_2K, steps))
        return from_tensor(x_SCDD.expand(-1, 3, -1, -1))

    def preview(self, corpus: Corpus, seed: int) -> list[Example]:
        """The same noise each time."""
        words = [self.classes[place % len(self.classes)] if self.classes else "" for place in range(PREVIEW)]
        made = self.generate({}, "image", PREVIEW, seed=seed, options={})
        return [Example(word, {"made": picture}) for word, picture in zip(words, made, strict=True)]

    def unknown_words(self, caption: str) -> dict[str, str]:
        """Nothing: a word that is no class is refused by `generate`."""
        return {}

    def _one_hot(self, words: Sequence[str]) -> Tensor:
        """(N, K); without classes (N, 0)."""
        if not self.classes:
            return torch.zeros(len(words), 0)
        for word in words:
            if word not in self.classes:
                raise DataError(unknown("class", word, self.classes))
        places_N = torch.tensor([self.classes.index(word) for word in words])
        return F.one_hot(places_N, len(self.classes)).float()


def _slope(score_B: Tensor, x_BCSS: Tensor) -> Tensor:
    """Length (B,) of each score's gradient at its picture."""
    slope_BCSS = torch.autograd.grad(score_B.sum(), x_BCSS, create_graph=True)[0]
    return (slope_BCSS.flatten(1).square().sum(1) + 1e-12).sqrt()
