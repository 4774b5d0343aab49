"""The frame judge: a class judge that sees one frame, from the middle of each clip of the `judge` split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mmgen.data.corpus import Corpus, load_corpus
from mmgen.evaluation.judges.class_judge import IMAGE_PX, learned, right
from mmgen.evaluation.metrics.bootstrap import mean_interval
from mmgen.files import sha256_file, write_json
from mmgen.modalities.image import Picture, resize
from mmgen.progress import Progress
from mmgen.recipes import Recipe
from mmgen.weights import save_tensors


def train_judge(dataset: Path, recipe: Recipe, out: Path, scratch: Path, progress: Progress) -> None:
    """Train the judge and measure it.

    Args:
        dataset: folder of a data set of videos with splits `judge` and `test` and a concept for every clip.
        recipe: its `judge` part.
        out: empty folder; receives the files of the class judge.
        scratch: folder that outlives a kill; holds checkpoints.
        progress: where steps are shown.
    """
    config = recipe.judge
    torch.set_num_threads(recipe.training.threads)
    own, held_out = load_corpus(dataset, "judge"), load_corpus(dataset, "test")
    lesson = {"judge": ("frame judge", middles(own))}
    judge = learned(lesson, own.concepts, recipe, out, scratch, progress)["judge"]
    asked = held_out.take(range(len(held_out))[: config.probes])
    hits = right(judge, middles(asked), asked.concepts)
    save_tensors(out / "judge.safetensors", judge.state_dict())
    card = {
        "accuracy": mean_interval(hits, np.random.default_rng(config.seed))._asdict(),
        "measure": "middle frames of real clips that neither judge nor generator learned from, named right",
        "trained_on": len(own),
        "classes": list(judge.classes),
        "config": {"width": config.width, "features": config.features, "steps": config.steps, "batch": config.batch},
        "image_px": IMAGE_PX,
        "id": sha256_file(out / "judge.safetensors")[:16],
    }
    write_json(out / "judge.json", card)


def middles(corpus: Corpus) -> list[Picture]:
    """The middle frame of each clip."""
    return [resize(clip[len(clip) // 2], IMAGE_PX) for clip in corpus.videos()]
