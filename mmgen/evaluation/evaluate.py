"""The evaluation stage: a model and a judge in, scores with intervals and things to look at and listen to out.

What is asked of the model is the recipe's task (`mmgen.evaluation.tasks.task`); what is kept of it is the same for all.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmgen.errors import ConfigError, unknown
from mmgen.evaluation.alarms import Watch
from mmgen.evaluation.config import TASKS
from mmgen.evaluation.metrics.bootstrap import mean_interval
from mmgen.evaluation.tasks.task import Findings, Section, Subject
from mmgen.examples import Example, sheet
from mmgen.files import write_bytes, write_json
from mmgen.generate import Generator
from mmgen.inspection.failures import by_group, large
from mmgen.modalities import image, media
from mmgen.progress import Progress
from mmgen.recipes import Recipe
from mmgen.recipes.recipe import assign


def evaluate(
    model_folder: Path, judge_folder: Path, dataset: Path, recipe: Recipe, out: Path, progress: Progress
) -> None:
    """Score a model.

    Args:
        model_folder: written by the training stage.
        judge_folder: written by the judge stage.
        dataset: folder of a data set with the splits that the task wants.
        recipe: its `evaluation`, `judge` and `data` parts.
        out: empty folder; receives `metrics.json`, `scores.json`, `prompts.json`, `groups.json` (group of each prompt),
            `slices.json` (means of each group), `cost.json`, `examples.json`, one contact sheet a section, `examples/`.
        progress: where the work is shown.
    """
    torch.set_num_threads(recipe.training.threads)
    model = Generator.load(model_folder).model
    for option in recipe.evaluation.options:
        name, _, value = option.partition("=")
        fields = {known: field for known, field in model.options().items() if field}
        if name not in fields:
            raise ConfigError(unknown("option of evaluation.options", name, fields))
        model.config = assign(model.config, fields[name], value)
    watch = Watch(model.generate)
    model.generate = watch  # type: ignore[method-assign]
    task = importlib.import_module(TASKS[recipe.evaluation.task])
    findings: Findings = task.evaluate(Subject(model, judge_folder, dataset, recipe, progress))
    rng = np.random.default_rng(recipe.evaluation.seed)
    metrics: dict[str, dict[str, float]] = {}
    resamples = recipe.evaluation.resamples
    for name, values in findings.scores.items():
        metrics[name] = mean_interval(values, rng, resamples=resamples)._asdict()
    metrics |= findings.metrics | watch.alarms(dataset, recipe.data.languages[0])
    write_json(out / "metrics.json", metrics)
    write_json(out / "scores.json", findings.scores)
    write_json(out / "prompts.json", findings.prompts)
    write_json(out / "groups.json", findings.groups)
    slices = {
        name: by_group(findings.scores[name], groups, rng, resamples)
        for name, groups in findings.groups.items()
        if len(large(groups)) > 1
    }
    write_json(out / "slices.json", slices)
    write_json(out / "cost.json", watch.cost(model_folder))  # apart: all else is the same in every run
    sections = keep_all(findings.sections, out)
    shown = {
        "headline": [[name, what] for name, what in findings.headline.items() if name in metrics],  # their order counts
        "pairs": [list(pair) for pair in model.pairs()],
        "sections": sections,
    }
    write_json(out / "examples.json", shown)


def keep_all(sections: Sequence[Section], out: Path) -> list[dict[str, Any]]:
    """Write every section that has something to show: a model without a mistake has no example of one."""
    return [keep(section, out) for section in sections if section.examples or section.sheet is not None]


def keep(section: Section, out: Path) -> dict[str, Any]:
    """Write what a section shows, and say where it is: an entry of `examples.json`."""
    whole = section.sheet if section.sheet is not None else sheet(section.examples)
    write_bytes(out / f"{section.name}.png", image.encode(whole))
    tiles = [
        {"title": example.title, "media": _media(example, out, f"{section.name}-{row:03d}"), "remarks": example.remarks}
        for row, example in enumerate(section.examples)
    ]
    return {
        "name": section.name,
        "title": section.title,
        "about": section.about,
        "sheet": f"{section.name}.png",
        "tiles": [] if section.sheet is not None else tiles,
    }


def _media(example: Example, out: Path, stem: str) -> list[dict[str, str]]:
    """Each thing as a file of its modality; a sound has a picture beside it, a tune a picture and a sound."""
    found = []
    for place, (label, value) in enumerate(example.media.items()):
        kind, (ending, content) = media.kind(value), media.encode(value)
        files = {"file": f"examples/{stem}-{place}.{ending}"}
        write_bytes(out / files["file"], content)
        if kind in ("sound", "music"):
            files["picture"] = f"examples/{stem}-{place}.png"
            write_bytes(out / files["picture"], image.encode(media.picture(value)))
        if kind == "music":
            files["sound"] = f"examples/{stem}-{place}.wav"
            write_bytes(out / files["sound"], media.encode(media.module("music").sound(value))[1])
        found.append({"label": label, "kind": kind, **files})
    return found
