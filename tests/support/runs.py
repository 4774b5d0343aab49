"""Small runs for tests of mmgen.ops: real folders and real seals, made-up numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mmgen.files import write_json
from mmgen.ops.runs.cache import run_stage
from mmgen.ops.runs.keys import STAGES, Keys
from mmgen.ops.runs.run import Run
from mmgen.recipes import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallModel:
    family: str = "small"
    width: int = 8


def small_run(root: Path, number: int = 1, *, recipe: str = "emoji") -> Run:
    """A run with a run key of its own for each `number`; nothing of it has run."""
    stages = {stage: f"{number:04d}{position:012d}" for position, stage in enumerate(STAGES)}
    return Run(
        recipe=Recipe(name=recipe, model=SmallModel()),
        settings=(),
        root=root,
        data_root=root / "data",
        data_folder=root / "data" / "emoji",
        data_version=f"{number:032x}.dir",
        keys=Keys(run_key=f"{number:04d}aaaabbbbcccc", stages=stages, parts={stage: {} for stage in STAGES}),
        git_commit=f"{number:040x}",
        git_dirty=False,
    )


def fill_train(out: Path, shade: int = 0, steps: int = 3) -> None:
    """What stage `train` leaves: a model, a curve, two grids."""
    write_json(out / "model" / "config.json", {"family": "small", "shade": shade})
    (out / "model" / "weights.safetensors").write_bytes(bytes([shade]) * 64)
    rows = [f'{{"step": {step}, "loss": {1 / step}, "lr": 0.001}}\n' for step in range(1, steps + 1)]
    (out / "metrics.jsonl").write_text("".join(rows))
    (out / "samples").mkdir()
    for step in (500, 1000):
        Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(out / "samples" / f"step-{step:06d}.png")


def fill_gate(out: Path, decision: str = "promote", champion: str | None = None) -> None:
    """What stage `gate` leaves."""
    write_json(out / "verdict.json", {"decision": decision, "reasons": ["made up"], "champion": champion, "table": []})


def make_trained(run: Run, *, decision: str = "promote", shade: int = 0, champion: str | None = None) -> None:
    """Seal the stages that registration reads; the verdict is against the version `champion`."""
    for stage, work in (
        ("train", lambda out: fill_train(out, shade)),
        ("gate", lambda out: fill_gate(out, decision, champion)),
    ):
        run_stage(stage, run.keys.stages[stage], run.root, work, facts=run.facts(stage))
