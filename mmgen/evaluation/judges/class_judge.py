"""The class judge: a small network that names what a picture shows, trained on pictures that no generator sees.

It learns the `label` (or, where there is none, the `group`) of the `judge` split in altered views, and its own accuracy
is measured on the `test` split. Its last hidden layer gives the features for distances between sets of pictures.

Shapes here: B pictures, S side in pixels, F features, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.order import generator
from mmgen.evaluation.judges.judge_training import Lesson, learn_judge
from mmgen.evaluation.metrics.bootstrap import mean_interval
from mmgen.files import read_json, sha256_file, write_json
from mmgen.modalities.image import Picture, resize, to_tensor
from mmgen.models.base import Loss, seeded
from mmgen.progress import Progress
from mmgen.recipes import Recipe
from mmgen.weights import load_tensors, save_tensors

IMAGE_PX = 32
CHUNK = 512


class ClassJudge(nn.Module):
    """Six convolutions and two linear layers.

    Args:
        classes: names, in the order of the outputs.
        width: channels of the first convolution.
        features: width of the layer before the classes.
    """

    def __init__(self, classes: Sequence[str], width: int, features: int) -> None:
        super().__init__()
        self.classes = tuple(classes)
        layers: list[nn.Module] = []
        channels = 3
        for out in (width, 2 * width, 2 * width):
            layers += [nn.Conv2d(channels, out, 3, 2, 1), nn.GroupNorm(4, out), nn.SiLU()]
            layers += [nn.Conv2d(out, out, 3, 1, 1), nn.GroupNorm(4, out), nn.SiLU()]
            channels = out
        self.body = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(channels * (IMAGE_PX // 8) ** 2, features), nn.SiLU()
        )
        self.head = nn.Linear(features, len(classes))

    def forward(self, x_B3SS: Tensor) -> Tensor:
        """Logits (B, K) of pictures in [-1, 1]."""
        logits: Tensor = self.head(self.body(x_B3SS))
        return logits

    @torch.no_grad()
    def features(self, pictures: Sequence[Picture]) -> NDArray[np.float64]:
        """Features (B, F) of pictures of any size, each scaled to length sqrt(F), as the kernel distance expects."""
        found = torch.cat([F.normalize(self.body(batch), dim=1) for batch in _batches(pictures)])
        scaled: NDArray[np.float64] = (found * found.shape[1] ** 0.5).double().numpy()
        return scaled

    @torch.no_grad()
    def probabilities(self, pictures: Sequence[Picture]) -> NDArray[np.float64]:
        """Probability (B, K) of each class."""
        found: NDArray[np.float64] = (
            torch.cat([self(batch).softmax(1) for batch in _batches(pictures)]).double().numpy()
        )
        return found

    def names(self, pictures: Sequence[Picture]) -> list[str]:
        """The likeliest class of each picture."""
        return [self.classes[place] for place in self.probabilities(pictures).argmax(1)]


class _Learners(nn.Module):
    """Judges while they learn, each from its own pictures.

    Args:
        judges: by name.
    """

    def __init__(self, judges: Mapping[str, ClassJudge]) -> None:
        super().__init__()
        self.judges = nn.ModuleDict(judges)

    def objectives(self, batch: Mapping[str, Tensor]) -> dict[str, Loss]:
        """A loss for each judge: of which class is each view?"""
        return {name: partial(self._loss, name, batch) for name in self.judges}

    def _loss(self, name: str, batch: Mapping[str, Tensor], rng: torch.Generator) -> Tensor:
        logits_BK = self.judges[name](batch[f"{name}.x"])
        return F.cross_entropy(logits_BK, batch[f"{name}.label"], label_smoothing=0.05)


def train_judge(dataset: Path, recipe: Recipe, out: Path, scratch: Path, progress: Progress) -> None:
    """Train the judge and measure it.

    Args:
        dataset: folder of a data set with splits `judge` and `test` and a class for every sample.
        recipe: its `judge` part.
        out: empty folder; receives `judge.safetensors`, `judge.json` (accuracy, classes, sizes, id) and
            `metrics.jsonl`.
        scratch: folder that outlives a kill; holds checkpoints.
        progress: where steps are shown.
    """
    config = recipe.judge
    torch.set_num_threads(recipe.training.threads)
    own, held_out = load_corpus(dataset, "judge"), load_corpus(dataset, "test")
    lesson = {"judge": ("class judge", own.images(IMAGE_PX))}
    judge = learned(lesson, classes_of(own), recipe, out, scratch, progress)["judge"]
    asked = held_out.take(range(len(held_out))[: config.probes])
    hits = right(judge, asked.images(IMAGE_PX), classes_of(asked))
    value, low, high, n = mean_interval(hits, np.random.default_rng(config.seed))
    save_tensors(out / "judge.safetensors", judge.state_dict())
    card = {
        "accuracy": {"value": value, "low": low, "high": high, "n": n},
        "measure": "real pictures that neither judge nor generator learned from, named right",
        "trained_on": len(own),
        "classes": list(judge.classes),
        "config": {"width": config.width, "features": config.features, "steps": config.steps, "batch": config.batch},
        "image_px": IMAGE_PX,
        "id": sha256_file(out / "judge.safetensors")[:16],
    }
    write_json(out / "judge.json", card)


def learned(
    shown: Mapping[str, tuple[str, Sequence[Picture]]],
    names: Sequence[str],
    recipe: Recipe,
    out: Path,
    scratch: Path,
    progress: Progress,
) -> dict[str, ClassJudge]:
    """Judges that have learned one or several pictures of each sample, by name.

    Args:
        shown: name of each judge -> its stream, which keeps its random draws apart, and its pictures of `IMAGE_PX`.
        names: class of each sample.
        recipe, out, scratch, progress: see `learn_judge`.
    """
    config, classes = recipe.judge, sorted(set(names))
    label_N = torch.tensor([classes.index(name) for name in names])
    judges, lessons = {}, {}
    for name, (stream, pictures) in shown.items():
        with seeded(generator(config.seed, stream)):
            judges[name] = ClassJudge(classes, config.width, config.features)
        lessons[name] = Lesson(x_N3SS=to_tensor(pictures), label_N=label_N, stream=stream)
    learn_judge(_Learners(judges), lessons, recipe, out, scratch, progress, weight_decay=0.05)
    return {name: judge.eval() for name, judge in judges.items()}


def right(judge: ClassJudge, pictures: Sequence[Picture], names: Sequence[str]) -> list[float]:
    """1 for each picture that the judge calls by its name, else 0."""
    return [float(said == name) for said, name in zip(judge.names(pictures), names, strict=True)]


def load_class_judge(folder: Path) -> ClassJudge:
    """The judge of a folder that `train_judge` filled."""
    card = read_json(folder / "judge.json")
    judge = ClassJudge(card["classes"], card["config"]["width"], card["config"]["features"])
    judge.load_state_dict(load_tensors(folder / "judge.safetensors"))
    return judge.eval()


def classes_of(corpus: Corpus) -> list[str]:
    """What each sample shows, in one word: the caption of a labelled one, else its group."""
    labelled = all("label" in facts for facts in corpus.facts)
    return corpus.concepts if labelled else corpus.groups


def _batches(pictures: Sequence[Picture]) -> list[Tensor]:
    return [
        to_tensor([resize(picture, IMAGE_PX) for picture in pictures[start : start + CHUNK]])
        for start in range(0, len(pictures), CHUNK)
    ]
