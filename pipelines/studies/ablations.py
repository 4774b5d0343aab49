"""The effect of each improvement: the same run with and without it, over several seeds, and the difference.

Both arms of an ablation learn for the same number of steps on the same data and are asked the same prompts; only the
settings named in `without` and `improved` differ.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmgen.errors import ConfigError, unknown
from mmgen.evaluation.metrics.bootstrap import seeds_interval
from mmgen.files import read_json, write_json
from mmgen.ops.runs.keys import CODE
from mmgen.ops.runs.run import Run, open_run

ABLATED = CODE / "mmgen" / "recipes" / "ablations.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ablation:
    """One improvement, on one recipe."""

    kind: str
    """Transfer, multi-task, augmentation or sampling."""
    what: str
    recipe: str
    shared: tuple[str, ...]
    """Settings of both arms."""
    without: tuple[str, ...] = ()
    improved: tuple[str, ...] = ()
    source: tuple[str, tuple[str, ...]] | None = None
    """Recipe and settings of the training that the improved arm starts from, of the same seed."""
    scores: tuple[str, ...]


ABLATIONS = {
    "transfer-language": Ablation(
        kind="transfer",
        what="German captions, 300 steps: from random weights, or from the model of English captions",
        recipe="emoji",
        shared=("size=small", "data.languages=de", "training.steps=300"),
        source=("emoji", ("size=small",)),
        scores=("image.r1_seen", "image.r1_compositions", "text.chrf_compositions"),
    ),
    "transfer-pictures": Ablation(
        kind="transfer",
        what="emoji of four other sets, 150 steps: from random weights, or from the captioner of Twemoji",
        recipe="show-and-tell",
        shared=("size=small", "data.name=styles", "training.steps=150"),
        source=("show-and-tell", ("size=small",)),
        scores=("text.chrf_seen", "text.chrf_test"),
    ),
    "multi-task-draw": Ablation(
        kind="multi-task",
        what="drawing captions: learned alone, or together with describing pictures",
        recipe="emoji",
        shared=("size=small",),
        without=("model.text_batch=0",),
        scores=("image.r1_seen", "image.r1_compositions"),
    ),
    "multi-task-describe": Ablation(
        kind="multi-task",
        what="describing pictures: learned alone, or together with drawing captions",
        recipe="emoji",
        shared=("size=small",),
        without=("model.image_batch=0",),
        scores=("text.exact_seen", "text.exact_compositions"),
    ),
    "augment-captioner": Ablation(
        kind="augmentation",
        what="pictures moved, zoomed and tinted by up to 6, 6 and 5 %",
        recipe="show-and-tell",
        shared=("size=small",),
        improved=("model.shift=0.06", "model.zoom=0.06", "model.tint=0.05"),
        scores=("text.exact_seen", "text.exact_compositions", "text.chrf_concepts"),
    ),
    "augment-chorales": Ablation(
        kind="augmentation",
        what="chorales in other keys, up to five semitones away",
        recipe="chorales",
        shared=("size=small",),
        without=("model.transpose=0",),
        scores=("nll.frame",),
    ),
    "augment-listen": Ablation(
        kind="augmentation",
        what="speech at other speeds and pitches, with noise and masks (SpecAugment)",
        recipe="listen",
        shared=("size=small",),
        without=("model.speed=0", "model.warp=0", "model.noise=0", "model.band_masks=0", "model.time_masks=0"),
        scores=("text.cer_test", "text.cer_greedy"),
    ),
    "augment-captioner-long": Ablation(
        kind="augmentation",
        what="pictures moved, zoomed and tinted, 1,500 steps instead of 450",
        recipe="show-and-tell",
        shared=(),
        improved=("model.shift=0.06", "model.zoom=0.06", "model.tint=0.05"),
        scores=("text.exact_seen", "text.exact_compositions", "text.chrf_concepts"),
    ),
    "augment-listen-long": Ablation(
        kind="augmentation",
        what="speech at other speeds and pitches, with noise and masks, 1,000 steps instead of 240",
        recipe="listen",
        shared=(),
        without=("model.speed=0", "model.warp=0", "model.noise=0", "model.band_masks=0", "model.time_masks=0"),
        scores=("text.cer_test", "text.cer_greedy"),
    ),
    "sample-steps": Ablation(
        kind="sampling",
        what="8 Euler steps instead of 2",
        recipe="emoji",
        shared=("size=small",),
        improved=("evaluation.options=steps=8",),
        scores=("image.r1_seen", "image.r1_compositions"),
    ),
    "sample-guidance": Ablation(
        kind="sampling",
        what="guidance of 1.1 instead of none",
        recipe="emoji",
        shared=("size=small",),
        without=("evaluation.options=guidance=1",),
        scores=("image.r1_seen", "image.r1_compositions"),
    ),
}
"""Name -> what is compared. To add one, add its entry."""


def ablate(names: Sequence[str], seeds: int, root: Path, data_root: Path) -> None:
    """Run both arms of each of `names` with seeds 0, 1, ..., and write the results; existing runs are used.

    Raises:
        ConfigError: an unknown name.
        RuntimeError: a run failed.
    """
    for name in names:
        if name not in ABLATIONS:
            raise ConfigError(unknown("ablation", name, ABLATIONS))
    found: dict[str, Any] = read_json(ABLATED) if ABLATED.is_file() else {}
    for name in names:
        ablation = ABLATIONS[name]
        arms = [_arms(ablation, seed, root, data_root) for seed in range(seeds)]
        found[name] = {
            "kind": ablation.kind,
            "what": ablation.what,
            "recipe": ablation.recipe,
            "settings": {"both": ablation.shared, "without": ablation.without, "with": ablation.improved},
            "source": ablation.source,
            "seeds": seeds,
            "scores": {score: _difference(score, arms) for score in ablation.scores},
        }
        write_json(ABLATED, found)


def table(found: dict[str, Any]) -> list[str]:
    """Lines of a Markdown table; a difference whose interval excludes zero is bold."""
    lines = [
        "| | recipe | what | score | without | with | difference [95 % interval] | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in [name for name in ABLATIONS if name in found]:
        entry = found[name]
        for score, values in entry["scores"].items():
            difference = values["difference"]
            said = f"{difference['value']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}]"
            if difference["low"] > 0 or difference["high"] < 0:
                said = f"**{said}**"
            lines.append(
                f"| {entry['kind']} | [{entry['recipe']}](#{entry['recipe']}) | {entry['what']} | `{score}` | "
                f"{values['without']:.3f} | {values['with']:.3f} | {said} | {entry['seeds']} |"
            )
    return lines


def _arms(ablation: Ablation, seed: int, root: Path, data_root: Path) -> tuple[Run, Run]:
    """The runs without and with the improvement, evaluated."""
    shared = (*ablation.shared, f"seed={seed}")
    improved = (*shared, *ablation.improved)
    if ablation.source is not None:
        recipe, settings = ablation.source
        first = _evaluated(recipe, (*settings, f"seed={seed}"), root, data_root)
        improved = (*improved, f"training.init_from={first.keys.stages['train']}")
    without = _evaluated(ablation.recipe, (*shared, *ablation.without), root, data_root)
    return without, _evaluated(ablation.recipe, improved, root, data_root)


def _evaluated(recipe: str, settings: tuple[str, ...], root: Path, data_root: Path) -> Run:
    """A run up to its scores, in a process of its own, so that no run sees what another left in memory."""
    with tempfile.TemporaryDirectory() as scratch:
        options = [part for setting in settings for part in ("--set", setting)]
        command = [sys.executable, "-m", "pipelines.cli", "evaluate", recipe, *options, "--out", f"{scratch}/out"]
        done = subprocess.run(
            [*command, "--root", str(root), "--data", str(data_root)], stdout=subprocess.DEVNULL, check=False
        )
    if done.returncode:
        raise RuntimeError(f"recipe {recipe!r} with {settings} ended with {done.returncode}; what it said is above")
    return open_run(recipe, settings, root, data_root)


def _difference(score: str, arms: Sequence[tuple[Run, Run]]) -> dict[str, Any]:
    """Means of both arms and their paired difference, over seeds and prompts."""
    values_2SP = np.array([[read_json(run.folder("evaluate") / "scores.json")[score] for run in runs] for runs in arms])
    without_SP, with_SP = values_2SP[:, 0], values_2SP[:, 1]
    found = seeds_interval(with_SP - without_SP, np.random.default_rng(0))
    return {"without": float(without_SP.mean()), "with": float(with_SP.mean()), "difference": found._asdict()}
