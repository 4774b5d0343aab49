"""Pictures of an evaluation: what was asked beside what was drawn, and where it went wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from mmgen.files import write_bytes, write_json
from mmgen.generate import Generator
from mmgen.modalities import image
from mmgen.modalities.image import Picture

if TYPE_CHECKING:
    from mmgen.evaluation.evaluate import Answers

SHOWN = 32
"""Prompts of each split in its grid, spread over the split."""
FAILURES = 16


def write_pictures(answers: dict[str, Answers], generator: Generator, language: str, out: Path) -> None:
    """Write a grid for each split, `reconstructions.png`, `failures.png` and `examples.json`.

    In every grid a tile is the real picture on the left and the model's on the right.
    """
    examples = {}
    for split, given in answers.items():
        rows = _spread(len(given.drawn), SHOWN)
        prompts = given.asked.captions[language]
        tiles = [beside(given.asked.images[row], given.drawn[row]) for row in rows]
        write_bytes(out / f"{split}.png", image.encode(image.show(tiles, [prompts[row] for row in rows])))
        examples[split] = [_example(given, row, prompts[row], out, split) for row in rows]
    write_json(out / "examples.json", examples)
    _write_failures(answers["seen"], language, out)
    _write_reconstructions(answers, generator, language, out)


def beside(left: Picture, right: Picture) -> Picture:
    """Two pictures of one height side by side with a white gap."""
    gap = np.full((left.shape[0], max(2, left.shape[1] // 16), 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def _example(given: Answers, row: int, prompt: str, out: Path, split: str) -> dict[str, object]:
    """One prompt with everything that was made of it; its two pictures are written as files."""
    name = f"examples/{split}-{row:04d}"
    image.write(given.drawn[row], out / f"{name}.png")
    image.write(given.asked.images[row], out / f"{name}-truth.png")
    return {
        "key": given.asked.keys[row],
        "caption": prompt,
        "image": f"{name}.png",
        "truth": f"{name}-truth.png",
        "rank": given.ranks[row],
        "nearest_caption": given.nearest[row],
        "predicted_caption": given.told[row],
        "references": given.references[row],
    }


def _write_failures(given: Answers, language: str, out: Path) -> None:
    """The worst ranks of the seen captions: asked, drawn, and what the judge took it for."""
    worst = sorted(range(len(given.ranks)), key=lambda row: -given.ranks[row])[:FAILURES]
    tiles = [beside(given.asked.images[row], given.drawn[row]) for row in worst]
    captions = [f"{given.asked.captions[language][row]} > {given.nearest[row]}" for row in worst]
    write_bytes(out / "failures.png", image.encode(image.show(tiles, captions)))


def _write_reconstructions(answers: dict[str, Answers], generator: Generator, language: str, out: Path) -> None:
    """Held-out pictures beside what the codec makes of them."""
    given = answers["concepts"].asked
    rows = _spread(len(given), FAILURES)
    codec = generator.model.codec
    with torch.no_grad():
        again = image.from_tensor(codec.decode(codec.encode(image.to_tensor([given.images[row] for row in rows]))))
    tiles = [beside(given.images[row], back) for row, back in zip(rows, again, strict=True)]
    captions = [given.captions[language][row] for row in rows]
    write_bytes(out / "reconstructions.png", image.encode(image.show(tiles, captions)))


def _spread(length: int, count: int) -> list[int]:
    """At most `count` places spread evenly over `length`."""
    step = max(1, length // count)
    return list(range(step // 2, length, step))[:count]
