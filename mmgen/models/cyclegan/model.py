"""CycleGAN: two painters and two critics that learn to go between two styles without ever seeing a pair.

Zhu et al. 2017, arXiv:1703.10593: each painter must please the critic of its side (least squares, eq. in section 4),
there and back must give the picture again (eq. 2), and a picture in the wanted style already is left alone (section
5.2). We differ in four ways: painters add to the picture instead of making it anew, all four networks move in one step,
there is no store of old fakes, which would be state that a resumed run has to carry, and pictures are shifted at
random, since there are few.

Shapes here: B pictures a side, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgen.data.corpus import Corpus
from mmgen.data.order import Order, generator
from mmgen.errors import ConfigError, DataError, unknown
from mmgen.examples import Example, spread
from mmgen.modalities.image import Picture, from_tensor, resize, to_tensor
from mmgen.models.base import Loss, Model, Player
from mmgen.models.cyclegan.config import CycleGANConfig
from mmgen.models.cyclegan.nets import Painter, PatchCritic

PREVIEW = 8
CHUNK = 256
"""Most pictures in one pass: bounds memory."""
SHIFT = 2
"""Largest shift in pixels."""


@dataclass(frozen=True)
class Batch:
    """Pictures of both sides, which have nothing to do with each other."""

    source_B3SS: Tensor
    target_B3SS: Tensor


class CycleBatches:
    """All pictures of both sides, with an order for each."""

    def __init__(self, sides: tuple[Tensor, Tensor], batch: int, seed: int) -> None:
        self._sides, self._seed = sides, seed
        self._orders = [
            Order(torch.ones(len(side)), batch, seed, name) for name, side in zip(("a", "b"), sides, strict=True)
        ]

    def at(self, step: int) -> Batch:
        """The batch of a step, each picture shifted by up to `SHIFT` pixels on white."""
        found = []
        for number, (order, side_N3SS) in enumerate(zip(self._orders, self._sides, strict=True)):
            rng = generator(self._seed, "shift", step, number)
            padded = F.pad(side_N3SS[order.at(step)], (SHIFT,) * 4, value=1.0)
            top, left = torch.randint(0, 2 * SHIFT + 1, (2,), generator=rng).tolist()
            side = side_N3SS.shape[-1]
            found.append(padded[:, :, top : top + side, left : left + side])
        return Batch(*found)


class CycleGAN(Model):
    """Two painters, to the target's style and back, and the critics of the source's and the target's style."""

    Config = CycleGANConfig
    config: CycleGANConfig

    def __init__(self, config: CycleGANConfig) -> None:
        super().__init__()
        self.config = config
        self.painters = nn.ModuleList([Painter(config.width, config.blocks) for _ in range(2)])
        self.source_critic, self.target_critic = (PatchCritic(config.critic_width) for _ in range(2))

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """A picture to one in the other style."""
        return (("image", "image"),)

    def options(self) -> dict[str, str]:
        """What `generate` can be told, and the setting that says it otherwise."""
        return {"style": ""}

    def batches(self, corpus: Corpus, seed: int) -> CycleBatches:
        """Batches of the two styles.

        Raises:
            DataError: the corpus lacks one of them.
        """
        styles = corpus.values("style")
        sides = []
        for style in (self.config.source, self.config.target):
            rows = [row for row, name in enumerate(styles) if name == style]
            if not rows:
                raise DataError(unknown("style", style, sorted(set(styles))))
            sides.append(to_tensor(corpus.take(rows).images(self.config.image_px)))
        return CycleBatches((sides[0], sides[1]), self.config.batch, seed)

    def objectives(self, batch: Batch) -> dict[str, Loss]:
        """Both ways for the painters, and one loss for each critic."""
        a, b = batch.source_B3SS, batch.target_B3SS
        there, back = self.painters
        return {
            "there": Player(partial(self._way, a, b, there, back, self.target_critic), self.painters),
            "back": Player(partial(self._way, b, a, back, there, self.source_critic), self.painters),
            "target_critic": Player(partial(self._critic, a, b, there, self.target_critic), self.target_critic),
            "source_critic": Player(partial(self._critic, b, a, back, self.source_critic), self.source_critic),
        }

    def _way(
        self, own: Tensor, other: Tensor, paint: nn.Module, again: nn.Module, critic: PatchCritic, rng: torch.Generator
    ) -> Tensor:
        """What the way from `own` to the style of `other` costs the painters."""
        painted = paint(own)
        fooled = (critic(painted) - 1).square().mean()
        cycle = F.l1_loss(again(painted), own)
        identity = F.l1_loss(paint(other), other)
        total: Tensor = fooled + self.config.cycle * cycle + self.config.identity * identity
        return total

    def _critic(
        self, other: Tensor, real: Tensor, paint: nn.Module, critic: PatchCritic, rng: torch.Generator
    ) -> Tensor:
        with torch.no_grad():
            painted = paint(other)
        total: Tensor = (critic(real) - 1).square().mean() + critic(painted).square().mean()
        return total

    def generate(
        self, given: Mapping[str, Sequence[Any]], to: str, n: int, *, seed: int, options: Mapping[str, Any]
    ) -> list[Picture]:
        """The pictures in the other style; option `style` names it, the config's target by default.

        Raises:
            ConfigError: a style that this model does not paint.
        """
        painters = dict(zip((self.config.target, self.config.source), self.painters, strict=True))
        style = options.get("style", self.config.target)
        if style not in painters:
            raise ConfigError(unknown("style", style, painters))
        return self._painted(given["image"], painters[style])

    @torch.no_grad()
    def _painted(self, pictures: Sequence[Picture], painter: nn.Module) -> list[Picture]:
        made: list[Picture] = []
        for start in range(0, len(pictures), CHUNK):
            chunk = [resize(picture, self.config.image_px) for picture in pictures[start : start + CHUNK]]
            made += from_tensor(painter(to_tensor(chunk)))
        return made

    def preview(self, corpus: Corpus, seed: int) -> list[Example]:
        """The same training pictures each time: given, painted, and painted back."""
        examples = []
        for own, other in ((self.config.source, self.config.target), (self.config.target, self.config.source)):
            rows = [row for row, style in enumerate(corpus.values("style")) if style == own]
            side = corpus.take([rows[place] for place in spread(len(rows), PREVIEW)])
            given = side.images(self.config.image_px)
            painted = self.generate({"image": given}, "image", len(given), seed=seed, options={"style": other})
            again = self.generate({"image": painted}, "image", len(given), seed=seed, options={"style": own})
            for title, *three in zip(side.concepts, given, painted, again, strict=True):
                examples.append(Example(title, dict(zip(("given", "painted", "back"), three, strict=True))))
        return examples
