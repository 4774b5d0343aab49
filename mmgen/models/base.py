"""What every model is: a module that can be rebuilt from its facts, and names what it turns into what."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import torch
from torch import Tensor, nn

from mmgen.errors import ConfigError

if TYPE_CHECKING:
    from mmgen.data.config import DataConfig
    from mmgen.data.corpus import Corpus
    from mmgen.examples import Example
    from mmgen.modalities.image import Picture

Loss = Callable[[torch.Generator], Tensor]
"""A loss that draws what is random in it from the generator that it is given."""


@dataclass(frozen=True)
class Share:
    """Every `of`-th row of a batch from row `first` on: what one of several processes takes of a step."""

    first: int = 0
    of: int = 1

    def rows(self, x: Tensor, repeats: int = 1) -> Tensor:
        """Its rows of `x`, which holds the rows of the batch `repeats` times, one whole batch after another.

        Raises:
            ConfigError: there are fewer rows than shares.
        """
        rows = len(x) // repeats
        if rows < self.of:
            raise ConfigError(f"a batch of {rows} cannot be taken in {self.of} parts")
        return x.reshape(repeats, rows, *x.shape[1:])[:, self.first :: self.of].flatten(0, 1)


WHOLE = Share()


@dataclass(frozen=True)
class Player:
    """A loss that trains a part of the model only, as each side of a game does."""

    loss: Loss
    learns: nn.Module

    def __call__(self, rng: torch.Generator) -> Tensor:
        """The loss."""
        return self.loss(rng)


class Batches(Protocol):
    """Where batches come from."""

    def at(self, step: int) -> Any:
        """The batch of a step. Nothing is remembered between calls, so a resumed run sees the same ones."""


class Model(nn.Module):
    """A family of models; it does no I/O, logs nothing and names no device.

    A subclass has an attribute `config`, a dataclass with `family`, and implements the methods that raise here. It
    overrides `facts` and `from_facts` when its config is not all that rebuilds it (a vocabulary, say).
    """

    Config: type
    config: Any
    exact_shares = False
    """Whether `objectives(batch, share)` gives losses of a share that add up to those of the whole batch, whatever the
    number of shares: then several processes learn what one would, but for rounding. Elsewhere a share is a batch of
    its own, with draws of its own."""

    @classmethod
    def fit(cls, config: Any, corpus: Corpus, data: DataConfig, rng: torch.Generator) -> Self:
        """A model with all that is not learned by steps (vocabulary, codec) and its first weights from `rng`."""
        with seeded(rng):
            return cls(config)

    def facts(self) -> dict[str, Any]:
        """What JSON must hold to rebuild the module before its weights are read."""
        return {"config": dataclasses.asdict(self.config)}

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """The module that `facts` describes, its weights still to be loaded."""
        config = {key: tuple(value) if isinstance(value, list) else value for key, value in facts["config"].items()}
        return cls(cls.Config(**config))

    def adapt(self, corpus: Corpus, data: DataConfig, rng: torch.Generator) -> None:
        """Make a model that has learned ready to go on with another corpus: its weights are kept, what it must know
        beside them (words, say) grows, first weights of what is new come from `rng`.

        Raises:
            ConfigError: the family cannot: what `fit` would take from this corpus is not what the model has.
        """
        fresh, own = type(self).fit(self.config, corpus, data, rng).facts(), self.facts()
        # As JSON, where a tuple is a list: what was loaded came from there.
        differing = [name for name in fresh if json.dumps(fresh[name]) != json.dumps(own[name])]
        if differing:
            raise ConfigError(
                f"family {self.config.family!r} cannot go on from a model of other data: "
                f"{' and '.join(differing)} would differ"
            )

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(source, target) modalities; sources are joined by " and ", and "nothing" is one."""
        raise NotImplementedError

    def options(self) -> dict[str, str]:
        """What `generate` can be told -> the field of the config that says it otherwise; "" where none does."""
        return {}

    def batches(self, corpus: Corpus, seed: int) -> Batches:
        """An object whose `at(step)` is the batch of that step, from the step alone."""
        raise NotImplementedError

    def objectives(self, batch: Any) -> dict[str, Loss]:
        """Named losses, each computed on a core of its own; their sum is minimised. One that trains only a part of
        the model is a `Player`; one that is left out of a step trains nothing in it.

        A family with `exact_shares` takes a `Share` as well."""
        raise NotImplementedError

    def generate(
        self, given: Mapping[str, Sequence[Any]], to: str, n: int, *, seed: int, options: Mapping[str, Any]
    ) -> list[Any]:
        """`n` things of modality `to`; `given` holds `n` things of each source modality.

        What is drawn at random depends on the place in the list and on `seed` alone.
        """
        raise NotImplementedError

    def preview(self, corpus: Corpus, seed: int) -> list[Example]:
        """What the model makes of a few fixed prompts: looked at while it learns."""
        raise NotImplementedError

    def reconstruct(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Pictures after the model's own encoding and decoding, for families that have one."""
        raise NotImplementedError

    def unknown_words(self, caption: str) -> dict[str, str]:
        """Words of a caption that say nothing to the model, each with the nearest that does, or an empty text."""
        return {}


@contextlib.contextmanager
def seeded(rng: torch.Generator) -> Iterator[None]:
    """First weights from `rng`: modules draw them from the global generator, which is put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.initial_seed())
        yield
