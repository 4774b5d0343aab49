"""The training stage: a data set and a recipe in, a model folder out."""

from __future__ import annotations

import dataclasses
import resource
import shutil
import time
from collections.abc import Collection
from pathlib import Path

import torch

from mmgen import models
from mmgen.data.corpus import load_corpus
from mmgen.data.order import generator
from mmgen.errors import ConfigError, OutOfMemoryError, TrainingError
from mmgen.examples import sheet
from mmgen.files import write_bytes, write_json
from mmgen.modalities import image
from mmgen.progress import Progress
from mmgen.recipes import Recipe
from mmgen.training.loop import learn
from mmgen.training.microbatches import out_of_memory
from mmgen.training.workers import Workers, alone

SIZES = ("batch", "image_batch", "text_batch", "clips")
"""What the families call the number of samples that a step learns from."""


def train(
    dataset: Path,
    recipe: Recipe,
    out: Path,
    work: Path,
    progress: Progress,
    quarantined: Collection[str] = (),
    start: Path | None = None,
    parts: int = 1,
    workers: Workers | None = None,
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
        parts: how many parts a batch is taken in, where memory ran out before; more than one changes the weights a
            little, since the parts draw at random for themselves.
        workers: the processes that train it together, as many as the recipe says; only the first one writes and shows.
            This one alone, if left out.

    Raises:
        ConfigError: the model at `start` does not fit the recipe's; there are more or fewer processes than it says.
        DataError: the data set is bad or lacks a language of the recipe.
        OutOfMemoryError: what can be lowered.
        TrainingError: a loss is not finite or has diverged.
        WorkersError: another process is gone.
    """
    workers = workers or alone(recipe.training.device)
    if workers.size != recipe.training.processes:
        raise ConfigError(
            f"training.processes is {recipe.training.processes}, and {workers.size} take part; "
            f"--set training.processes={workers.size}"
        )
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
    workers.same([*model.parameters(), *model.buffers()])  # processors of two kinds may have fitted it differently
    batches = model.batches(corpus, recipe.seed)
    samples = work / "samples"

    def show(step: int) -> None:
        examples = model.preview(corpus, recipe.seed)
        write_bytes(samples / f"step-{step:06d}.png", image.encode(sheet(examples)))

    try:
        seconds = learn(model, batches, recipe.training, recipe.seed, work, progress, show, parts, workers)
    except TrainingError as error:
        way = f"lower the rate with --set training.lr={recipe.training.lr / 2:g}"
        raise TrainingError(f"recipe {recipe.name}: {error}; {way}") from error
    except ConfigError as error:
        raise ConfigError(f"{error}; family {recipe.model.family}: {_smaller(recipe)}") from error
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        size = "whole batches" if parts == 1 else f"batches in {parts} parts"
        raise OutOfMemoryError(
            f"out of memory with {size}; the next attempt takes them in {2 * parts} parts, or {_smaller(recipe)}"
        ) from error
    if not workers.leads:
        return
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
            "micro_batches": parts,
            "processes": workers.size,
            "device": workers.device.type,
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        },
    )


def _smaller(recipe: Recipe) -> str:
    """What to lower when memory is short."""
    sizes = {name: value for name, value in dataclasses.asdict(recipe.model).items() if name in SIZES}
    settings = " ".join(f"--set model.{name}={max(1, value // 2)}" for name, value in sizes.items())
    return f"lower it with {settings}" if settings else "lower the sizes of the model"
