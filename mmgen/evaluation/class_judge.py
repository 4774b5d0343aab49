"""The class judge: a small network that names what a picture shows, trained on pictures that no generator sees.

It learns the `label` (or, where there is none, the `group`) of the `judge` split in altered views, and its own accuracy
is measured on the `test` split. Its last hidden layer gives the features for distances between sets of pictures.

Shapes here: B pictures, S side in pixels, F features, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.order import generator
from mmgen.evaluation.bootstrap import mean_interval
from mmgen.evaluation.config import JudgeConfig
from mmgen.evaluation.views_judge import altered
from mmgen.files import read_json, sha256_file, write_json
from mmgen.modalities.image import Picture, resize, to_tensor
from mmgen.models.base import seeded
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


def train_judge(dataset: Path, recipe: Recipe, out: Path, progress: Progress) -> None:
    """Train the judge and measure it.

    Args:
        dataset: folder of a data set with splits `judge` and `test` and a class for every sample.
        recipe: its `judge` part.
        out: empty folder; receives `judge.safetensors` and `judge.json` (accuracy, classes, sizes, id).
        progress: where steps are shown.
    """
    config = recipe.judge
    torch.set_num_threads(recipe.training.threads)
    own, held_out = load_corpus(dataset, "judge"), load_corpus(dataset, "test")
    judge = learned(own.images(IMAGE_PX), classes_of(own), config, "class judge", progress)
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
    pictures: Sequence[Picture], names: Sequence[str], config: JudgeConfig, stream: str, progress: Progress
) -> ClassJudge:
    """A judge that has learned pictures of `IMAGE_PX` and their classes; `stream` keeps its random draws apart."""
    classes = sorted(set(names))
    with seeded(generator(config.seed, stream)):
        judge = ClassJudge(classes, config.width, config.features)
    x_N3SS = to_tensor(pictures)
    label_N = torch.tensor([classes.index(name) for name in names])
    optimiser = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.05, fused=True)
    progress.start("judge", config.steps, "steps")
    for step in range(config.steps):
        rng = generator(config.seed, stream, step)
        rows_B = torch.randperm(len(x_N3SS), generator=rng)[: config.batch]
        loss = F.cross_entropy(judge(altered(x_N3SS[rows_B], rng)), label_N[rows_B], label_smoothing=0.05)
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 20, 2 * (1 - step / config.steps))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        progress.update(step + 1, loss=loss.item())
    progress.done()
    return judge.eval()


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
