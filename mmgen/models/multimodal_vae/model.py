"""Fusion: pictures, words and sounds of one thing through one latent space, any of them from any others.

Encoders and decoders of each modality stand in `sides.py`, the four ways to join them (MVAE, MMVAE, MoPoE, MVTCAE) with
their papers and equations in `joins.py`. Here is what all four share: a step's loss, the joint likelihood by importance
weighting (Burda et al. 2015, arXiv:1509.00519, eq. 8), and generation from any subset.

A step's batch is learned in two halves, one on each core; their mean is the loss.

Shapes here: B samples, P numbers of a thing, Z latent, K importance samples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor

from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus
from mmgen.data.order import Order, generator
from mmgen.examples import Example, spread
from mmgen.modalities.image import Picture
from mmgen.models.base import Loss, Model, seeded
from mmgen.models.multimodal_vae import joins
from mmgen.models.multimodal_vae.config import FusionConfig
from mmgen.models.multimodal_vae.joins import Normal, Subset
from mmgen.models.multimodal_vae.sides import ImageSide, Side, SoundSide, TextSide
from mmgen.models.shared.interpolation import arc, line, nats_by_number

NAMES = ("image", "text", "sound")
PREVIEW = 12
CHUNK = 256
"""Most things in one pass: bounds memory."""

Values = dict[str, Tensor]
"""Numbers (B, P) of things by modality."""


class FusionBatches:
    """All things as numbers, with the order to draw them in."""

    def __init__(self, values: Values, batch: int, seed: int) -> None:
        self._values = values
        self._order = Order(torch.ones(len(values[NAMES[0]])), batch, seed, "fusion")

    def at(self, step: int) -> Values:
        """The batch of a step."""
        rows_B = self._order.at(step)
        return {name: x_NP[rows_B] for name, x_NP in self._values.items()}


class Fusion(Model):
    """The model.

    Args:
        config: sizes.
        alphabet: letters that its words are made of.
        letters: of its longest word.
    """

    Config = FusionConfig
    config: FusionConfig

    def __init__(self, config: FusionConfig, alphabet: str, letters: int) -> None:
        super().__init__()
        self.config = config
        sizes = (config.width, config.latent)
        self.image = ImageSide(config.image_px, *sizes)
        self.text = TextSide(alphabet, letters, *sizes)
        self.sound = SoundSide(config.frames, config.sound_std, *sizes)
        self._weight = {"image": config.image_weight, "text": config.text_weight, "sound": config.sound_weight}

    @classmethod
    def fit(cls, config: FusionConfig, corpus: Corpus, data: DataConfig, rng: torch.Generator) -> Self:
        """First weights from `rng`, alphabet and loudness of `corpus`."""
        words = corpus.captions(data.languages[0])
        with seeded(rng):
            model = cls(config, "".join(sorted(set("".join(words)))), max(map(len, words)))
        model.sound.fit(corpus.sounds())
        return model

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """The module that `facts` describes, its weights still to be loaded."""
        return cls(FusionConfig(**facts["config"]), facts["alphabet"], facts["letters"])

    def facts(self) -> dict[str, Any]:
        """What `from_facts` needs, as JSON values."""
        return {"config": asdict(self.config), "alphabet": self.text.alphabet, "letters": self.text.letters}

    @property
    def sides(self) -> dict[str, Side]:
        """By modality, in the order of `NAMES`."""
        return {"image": self.image, "text": self.text, "sound": self.sound}

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Every modality from every subset of all, and all from nothing."""
        sources = [" and ".join(some) for size in (1, 2, 3) for some in itertools.combinations(NAMES, size)]
        return (("nothing", "all"), *((source, target) for source in sources for target in NAMES))

    def values(self, corpus: Corpus) -> Values:
        """Numbers of all things of a corpus; the word is the concept."""
        things: dict[str, list[Any]] = {
            "image": corpus.images(self.config.image_px),
            "text": corpus.concepts,
            "sound": corpus.sounds(),
        }
        return {name: side.values(things[name]) for name, side in self.sides.items()}

    def options(self) -> dict[str, str]:
        """What `generate` can be told, and the setting that says it otherwise."""
        return {"temperature": ""}

    def batches(self, corpus: Corpus, seed: int) -> FusionBatches:
        """Batches of `corpus`."""
        return FusionBatches(self.values(corpus), self.config.batch, seed)

    def objectives(self, batch: Values) -> dict[str, Loss]:
        """The two halves of the batch, each half of the loss, in weighted nats a sample."""
        middle = len(batch[NAMES[0]]) // 2
        halves = {"first": slice(0, middle), "second": slice(middle, None)}
        return {
            name: partial(self._half, {side: x_BP[rows] for side, x_BP in batch.items()})
            for name, rows in halves.items()
        }

    def _half(self, batch: Values, rng: torch.Generator) -> Tensor:
        x = {name: side.drawn(batch[name], rng) for name, side in self.sides.items()}
        return 0.5 * self.loss(x, rng).mean()

    def loss(self, x: Values, rng: torch.Generator) -> Tensor:
        """What the join minimises (B,), in weighted nats, with one sample of each posterior from `rng`."""
        config, count = self.config, len(NAMES)
        experts = self.experts(x)
        learned = joins.subsets(config.join, count)
        total_B = torch.zeros(len(x[NAMES[0]]))
        for subset in learned:
            joint = joins.posterior(config.join, experts, subset)
            z_BZ = joint.draw(torch.randn(joint.mean.shape, generator=rng))
            lost_B = sum(
                self._weight[NAMES[place]] * self._nats(NAMES[place], z_BZ, x)
                for place in joins.rebuilds(config.join, subset, count)
            )
            total_B = total_B + joins.share(config.join, count, config.alpha) * lost_B
            total_B = total_B + joins.price(config.join, experts, joint, config.beta, config.alpha)
        return total_B / len(learned)

    def experts(self, x: Values) -> list[Normal]:
        """What each modality says, in the order of `NAMES`."""
        return [side.expert(x[name]) for name, side in self.sides.items()]

    def _nats(self, name: str, z_BZ: Tensor, x: Values) -> Tensor:
        side = self.sides[name]
        return side.nats(side.decoder(z_BZ), x[name])

    @torch.no_grad()
    def log_likelihood(self, x: Values, samples: int, rng: torch.Generator) -> Tensor:
        """log p(image, text, sound) (B,) in nats: log of the mean importance weight of draws from the joint posterior.

        Args:
            x: values; pictures already binary.
            samples: draws for each part of the posterior's mixture.
            rng: of the draws.
        """
        experts, count = self.experts(x), len(NAMES)
        parts = [
            joins.posterior(self.config.join, experts, subset) for subset in joins.proposals(self.config.join, count)
        ]
        weights = []
        for part, _ in itertools.product(parts, range(samples)):
            z_BZ = part.draw(torch.randn(part.mean.shape, generator=rng))
            proposed_B = torch.stack([other.log_density(z_BZ) for other in parts]).logsumexp(0) - math.log(len(parts))
            prior_B = joins.standard(part).log_density(z_BZ)
            lost_B = torch.stack([self._nats(name, z_BZ, x) for name in NAMES]).sum(0)
            weights.append(prior_B - proposed_B - lost_B)
        return torch.stack(weights).logsumexp(0) - math.log(len(weights))

    def generate(
        self, given: Mapping[str, Sequence[Any]], to: str, n: int, *, seed: int, options: Mapping[str, Any]
    ) -> list[Any]:
        """Things of modality `to` from what is given, or things of all modalities from the prior.

        Option `temperature` scales the deviation of the latent numbers (1 by default; 0 is the likeliest).
        """
        z_NZ = self.latent({name: self.sides[name].values(things) for name, things in given.items()}, n, seed, options)
        if to != "all":
            return self.decoded(z_NZ, to)
        every = {name: self.decoded(z_NZ, name) for name in NAMES}
        return [{name: every[name][place] for name in NAMES} for place in range(n)]

    @torch.no_grad()
    def latent(self, x: Values, n: int, seed: int, options: Mapping[str, Any]) -> Tensor:
        """Latent numbers (N, Z) drawn from what `x` says, or from the prior when it is empty."""
        temperature = float(options.get("temperature", 1.0))
        noise_NZ = torch.stack(
            [torch.randn(self.config.latent, generator=generator(seed, "z", place)) for place in range(n)]
        )
        if not x:
            return temperature * noise_NZ
        said = [self.sides[name].expert(x[name]) for name in NAMES if name in x]
        if self.config.join == "mmvae" and len(said) > 1:
            # Of a mixture one expert speaks: each in turn, so that every one has its even share.
            turn_N = torch.arange(n) % len(said)
            rows_N = torch.arange(n)
            mean = torch.stack([one.mean for one in said])[turn_N, rows_N]
            log = torch.stack([one.log for one in said])[turn_N, rows_N]
            return Normal(mean, log).draw(temperature * noise_NZ)
        every: Subset = tuple(range(len(said)))
        return joins.posterior(self.config.join, said, every).draw(temperature * noise_NZ)

    def between(self, given: Mapping[str, Sequence[Any]], steps: int, *, seed: int) -> list[Picture]:
        """Pictures on the line between what two things say of the latent numbers, or between two draws of the prior."""
        ends_2Z = self.latent(
            {name: self.sides[name].values(things) for name, things in given.items()},
            2,
            seed,
            {"temperature": 0.0 if given else 1.0},
        )
        return self.decoded(line(ends_2Z, steps) if given else arc(ends_2Z, steps), "image")

    @torch.no_grad()
    def latent_nats(self, corpus: Corpus) -> Tensor:
        """What each latent number carries of the samples of a corpus, (Z,), in nats a sample."""
        experts = self.experts(self.values(corpus))
        parts = [
            joins.posterior(self.config.join, experts, subset)
            for subset in joins.proposals(self.config.join, len(NAMES))
        ]
        return torch.stack([nats_by_number(part.mean, part.log) for part in parts]).mean(0)

    def from_latent(self, z_NZ: Tensor) -> list[Picture]:
        """Pictures at places of the latent space."""
        return self.decoded(z_NZ, "image")

    @torch.no_grad()
    def decoded(self, z_NZ: Tensor, name: str) -> list[Any]:
        """Things of one modality at places of the latent space."""
        side = self.sides[name]
        return [
            thing
            for start in range(0, len(z_NZ), CHUNK)
            for thing in side.things(side.decoder(z_NZ[start : start + CHUNK]))
        ]

    def preview(self, corpus: Corpus, seed: int) -> list[Example]:
        """A picture, a word and a sound from the same latent numbers each time, and pictures of words."""
        made = self.generate({}, "all", PREVIEW // 2, seed=seed, options={})
        words = [corpus.concepts[row] for row in spread(len(corpus), PREVIEW // 2)]
        drawn = self.generate({"text": words}, "image", len(words), seed=seed, options={})
        return [
            *(Example(thing["text"], {"image": thing["image"], "sound": thing["sound"]}) for thing in made),
            *(Example(f"from {word!r}", {"image": picture}) for word, picture in zip(words, drawn, strict=True)),
        ]
