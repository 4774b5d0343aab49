"""What lies between two things, and what single latent numbers mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from mmgen.data.corpus import Corpus
from mmgen.evaluation.tasks.task import Section
from mmgen.examples import Example, sheet
from mmgen.modalities.contact_sheet import beside
from mmgen.modalities.image import Picture, resize

STEPS, DIRECTIONS = 9, 8


@runtime_checkable
class Interpolates(Protocol):
    """A model with pictures between two things."""

    def between(self, given: Mapping[str, Sequence[Any]], steps: int, *, seed: int) -> list[Picture]:
        """`steps` pictures from the first of two things to the second; with nothing given, between two draws."""


@runtime_checkable
class Traverses(Protocol):
    """A model with latent numbers of a normal prior."""

    def latent_nats(self, corpus: Corpus) -> Tensor:
        """What each latent number carries of the samples of a corpus, (Z,), in nats a sample."""

    def from_latent(self, z_NZ: Tensor) -> list[Picture]:
        """Pictures at places of the latent space."""


def interpolations(model: Interpolates, pairs: Sequence[Mapping[str, Sequence[Any]]], seed: int) -> Section:
    """A row for each pair of things; where nothing is given, each row is between two other draws."""
    rows = []
    for number, given in enumerate(pairs):
        row = model.between(given, STEPS, seed=seed + number)
        ends = [resize(picture, row[0].shape[0]) for picture in given.get("image", ())]
        title = " to ".join(map(str, given.get("text", ()))) if "image" not in given else ""
        rows.append(Example(title, {"row": beside([*ends[:1], *row, *ends[1:]])}))
    about = "Each row goes evenly from one to the other."
    if any("image" in given for given in pairs):
        about = "Outermost the two given pictures, between them pictures on the way from one to the other."
    elif not any(pairs):
        about = "Each row goes evenly from one draw of the noise to another."
    return Section("interpolations", "Between two", about, sheet=sheet(rows, columns=1))


def traversals(model: Traverses, nats_Z: Tensor) -> Section:
    """One row for each of the latent numbers that carry most: from -3 to 3, with all others at 0."""
    tiles = []
    for direction in nats_Z.argsort(descending=True)[:DIRECTIONS].tolist():
        z_SZ = torch.zeros(STEPS, len(nats_Z))
        z_SZ[:, direction] = torch.linspace(-3, 3, STEPS)
        row = beside(model.from_latent(z_SZ))
        tiles.append(Example(f"number {direction}: {nats_Z[direction]:.1f} nats", {"row": row}))
    about = "Each row moves one latent number from -3 to 3; those that carry most nats first."
    return Section("traversals", "What single latent numbers mean", about, sheet=sheet(tiles, columns=1))
