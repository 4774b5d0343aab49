"""The training stage: a data set and a recipe in, a model folder out."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Collection
from pathlib import Path

import torch

from mmgen import models
from mmgen.data.corpus import load_corpus
from mmgen.data.order import generator
from mmgen.examples import sheet
from mmgen.files import write_bytes, write_json
from mmgen.modalities import image
from mmgen.progress import Progress
from mmgen.recipes import Recipe
from mmgen.training.loop import learn


def train(
    dataset: Path,
    recipe: Recipe,
    out: Path,
    work: Path,
    progress: Progress,
    quarantined: Collection[str] = (),
    start: Path | None = None,
) -> None:
    """Train the recipe's model.

    Args:
        dataset: folder of a data set.
        recipe: the run.
        out: empty folder; receives `model/`, `metrics.jsonl`, `samples/step-000500.png` and `training.json`.
        work: scratch folder that outlives a kill; holds checkpoints.
        progress: where steps are shown.
        quarantined: keys of training samples to leave out.
        start: folder of the model whose weights are the first ones; None for random ones.

    Raises:
        ConfigError: the model at `start` does not fit the recipe's.
        DataError: the data set is bad or lacks a language of the recipe.
        TrainingError: a loss is not finite.
    """
    torch.set_num_threads(recipe.training.threads)
    started, cpu = time.monotonic(), time.process_time()
    progress.note("reading the data and fitting what needs no steps")
    corpus = load_corpus(dataset, "train", quarantined)
    rng = generator(recipe.seed, "fit")
    if start is None:
        model = models.model_class(recipe.model.family).fit(recipe.model, corpus, recipe.data, rng)
    else:
        model = models.load_as(start, recipe.model)
        model.adapt(corpus, recipe.data, rng)
    batches = model.batches(corpus, recipe.seed)
    samples = work / "samples"

    def show(step: int) -> None:
        examples = model.preview(corpus, recipe.seed)
        write_bytes(samples / f"step-{step:06d}.png", image.encode(sheet(examples)))

    seconds = learn(model, batches, recipe.training, recipe.seed, work, progress, show)
    models.save(model, out / "model")
    shutil.copy2(work / "metrics.jsonl", out / "metrics.jsonl")
    shutil.copytree(samples, out / "samples")
    write_json(
        out / "training.json",
        {
            "steps": recipe.training.steps,
            "seconds": round(seconds, 1),
            "seconds_in_all": round(time.monotonic() - started, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "samples": len(corpus),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        },
    )
