"""The concept judge: one class judge for pictures and one for sounds, which say what a thing shows or what is said.

A sound is judged by its spectrogram, brought to the size of a picture. Both learn from the `judge` split, which no
generator sees; their accuracy on the `test` split is the judge's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mmgen.data.corpus import Corpus, load_corpus
from mmgen.evaluation.judges.class_judge import IMAGE_PX, ClassJudge, learned, right
from mmgen.evaluation.metrics.bootstrap import mean_interval
from mmgen.files import read_json, sha256_file, write_json
from mmgen.modalities import sound
from mmgen.modalities.image import Picture, resize
from mmgen.progress import Progress
from mmgen.recipes import Recipe
from mmgen.weights import load_tensors, save_tensors

SECONDS, DECIBELS = 0.64, 60.0
"""What is seen of a sound: its beginning, down to this far below its loudest value."""


@dataclass(frozen=True)
class ConceptJudge:
    """Judges by modality; texts need none, since they are compared letter by letter."""

    image: ClassJudge
    sound: ClassJudge

    def names(self, modality: str, things: Sequence[object]) -> list[str]:
        """What each thing is taken for; a text says it itself."""
        if modality == "text":
            return [str(thing) for thing in things]
        if modality == "sound":
            return self.sound.names(seen(things))  # type: ignore[arg-type]
        return self.image.names(things)  # type: ignore[arg-type]


def train_judge(dataset: Path, recipe: Recipe, out: Path, scratch: Path, progress: Progress) -> None:
    """Train both judges, step by step together, and measure them.

    Args:
        dataset: folder of a data set with pictures, sounds and splits `judge` and `test`.
        recipe: its `judge` part.
        out: empty folder; receives `image.safetensors`, `sound.safetensors`, `judge.json` and `metrics.jsonl`.
        scratch: folder that outlives a kill; holds checkpoints.
        progress: where steps are shown.
    """
    config = recipe.judge
    torch.set_num_threads(recipe.training.threads)
    own, held_out = load_corpus(dataset, "judge"), load_corpus(dataset, "test")
    asked = held_out.take(range(len(held_out))[: config.probes])
    rng = np.random.default_rng(config.seed)
    shown = {name: (f"concept judge {name}", _pictures(own, name)) for name in ("image", "sound")}
    hits = {}
    for name, judge in learned(shown, own.concepts, recipe, out, scratch, progress).items():
        hits[name] = right(judge, _pictures(asked, name), asked.concepts)
        save_tensors(out / f"{name}.safetensors", judge.state_dict())
    every = [image * heard for image, heard in zip(hits["image"], hits["sound"], strict=True)]
    card = {
        "accuracy": mean_interval(every, rng)._asdict(),
        "by_modality": {name: mean_interval(values, rng)._asdict() for name, values in hits.items()},
        "measure": "real samples whose picture and whose sound are both named right; nobody learned from them",
        "trained_on": len(own),
        "classes": sorted(set(own.concepts)),
        "config": {"width": config.width, "features": config.features, "steps": config.steps, "batch": config.batch},
        "id": {name: sha256_file(out / f"{name}.safetensors")[:16] for name in hits},
    }
    write_json(out / "judge.json", card)


def load_concept_judge(folder: Path) -> ConceptJudge:
    """The judge of a folder that `train_judge` filled."""
    card = read_json(folder / "judge.json")
    judges = []
    for name in ("image", "sound"):
        judge = ClassJudge(card["classes"], card["config"]["width"], card["config"]["features"])
        judge.load_state_dict(load_tensors(folder / f"{name}.safetensors"))
        judges.append(judge.eval())
    return ConceptJudge(*judges)


def seen(sounds: Sequence[sound.Sound]) -> list[Picture]:
    """Spectrograms as grey pictures of `IMAGE_PX`: low to high upwards, what is loud is bright."""
    from PIL import Image

    frames = int(SECONDS * sound.RATE / sound.HOP)
    pictures = []
    for one in sounds:
        mel_TM = np.full((frames, sound.BANDS), np.log(sound.FLOOR), np.float32)
        found_TM = sound.log_mel(one)[:frames]
        mel_TM[: len(found_TM)] = found_TM
        decibels_MT = mel_TM.T[::-1] * (20 / np.log(10))
        level_MT = np.clip((decibels_MT - decibels_MT.max()) / DECIBELS + 1, 0, 1)
        grey = Image.fromarray((255 * level_MT).round().astype(np.uint8)).resize((IMAGE_PX, IMAGE_PX))
        pictures.append(np.repeat(np.asarray(grey)[:, :, None], 3, axis=2))
    return pictures


def _pictures(corpus: Corpus, name: str) -> list[Picture]:
    if name == "sound":
        return seen(corpus.sounds())
    return [resize(picture, IMAGE_PX) for picture in corpus.images(IMAGE_PX)]
