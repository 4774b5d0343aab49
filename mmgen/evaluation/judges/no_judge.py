"""No judge: where answers are compared with references by rule (exact, chrF, CER, nats), there is nothing to train."""

from __future__ import annotations

from pathlib import Path

from mmgen.files import write_json
from mmgen.progress import Progress
from mmgen.recipes import Recipe


def train_judge(dataset: Path, recipe: Recipe, out: Path, scratch: Path, progress: Progress) -> None:
    """Write a card that says so."""
    write_json(out / "judge.json", {"measure": "answers are compared with references by rule; no judge is trained"})
