"""The judge: a frozen network that tells pictures apart, trained on pictures that no generator sees.

It learns to recognise each picture of the `judge` split in altered views (moved, scaled, blurred, grainy), by a softmax
over all of them on normalised features (NormFace, Wang et al. 2017, arXiv:1704.06369). Colours are not altered: two
skin tones are two pictures. Distances between its features then say whether a drawn picture is the asked one.

A judge that cannot tell real things apart judges nothing: its own accuracy is measured on pictures that it never saw.
An altered view of one of them must have its original as nearest neighbour among all of them.

Shapes here: B pictures, S side in pixels, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgen.data.corpus import load_corpus
from mmgen.data.dataset import load
from mmgen.data.order import generator
from mmgen.errors import StorageError
from mmgen.evaluation.config import JudgeConfig
from mmgen.evaluation.judges.judge_training import Lesson, altered, learn_judge
from mmgen.evaluation.metrics.bootstrap import mean_interval
from mmgen.files import sha256_file, write_json
from mmgen.modalities.image import Picture, resize, to_tensor
from mmgen.models.base import Loss
from mmgen.progress import Progress
from mmgen.recipes import Recipe
from mmgen.weights import load_tensors, save_tensors

IMAGE_PX = 48
SCALE = 24.0
"""Inverse temperature of the softmax."""
CHUNK = 512


class Judge(nn.Module):
    """Five strided or plain convolutions and a linear layer on what is left of the picture's layout."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        width = config.width
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1),
            nn.GroupNorm(4, width),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.GroupNorm(4, 2 * width),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, 2, 1),
            nn.GroupNorm(4, 2 * width),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(2 * width * (IMAGE_PX // 8) ** 2, config.features),
        )

    def forward(self, x_B3SS: Tensor) -> Tensor:
        """Features (B, F) of pictures in [-1, 1]."""
        out: Tensor = self.layers(x_B3SS)
        return out

    @torch.no_grad()
    def features(self, pictures: list[Picture]) -> Tensor:
        """Features (B, F), each of length 1, of pictures of any size."""
        rows = []
        for start in range(0, len(pictures), CHUNK):
            batch = to_tensor([resize(picture, IMAGE_PX) for picture in pictures[start : start + CHUNK]])
            rows.append(F.normalize(self(batch), dim=1))
        return torch.cat(rows)


class _Learner(nn.Module):
    """The judge while it learns, with the direction of each picture among its features.

    Args:
        config: of the judge.
        pictures: how many it learns from.
    """

    def __init__(self, config: JudgeConfig, pictures: int) -> None:
        super().__init__()
        self.judge = Judge(config)
        self.centres = nn.Parameter(torch.randn(pictures, config.features) * 0.1)

    def objectives(self, batch: Mapping[str, Tensor]) -> dict[str, Loss]:
        """One loss: which picture is each view of?"""

        def loss(rng: torch.Generator) -> Tensor:
            features_BF = F.normalize(self.judge(batch["judge.x"]), dim=1)
            return F.cross_entropy(SCALE * features_BF @ F.normalize(self.centres, dim=1).T, batch["judge.label"])

        return {"judge": loss}


def train_judge(dataset: Path, recipe: Recipe, out: Path, scratch: Path, progress: Progress) -> None:
    """Train the judge and measure it.

    Args:
        dataset: folder of a data set with a `judge` split.
        recipe: its `judge` part.
        out: empty folder; receives `judge.safetensors`, `judge.json` (accuracy, sizes, id) and `metrics.jsonl`.
        scratch: folder that outlives a kill; holds checkpoints.
        progress: where steps are shown.
    """
    config = recipe.judge
    torch.set_num_threads(recipe.training.threads)
    own = load_corpus(dataset, "judge").images(IMAGE_PX)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        learner = _Learner(config, len(own))
    lesson = Lesson(x_N3SS=to_tensor(own), label_N=torch.arange(len(own)), stream="judge")
    learn_judge(learner, {"judge": lesson}, recipe, out, scratch, progress, weight_decay=0.01)
    judge = learner.judge.eval()
    hits = _recognised(judge, dataset, config)
    value, low, high, n = mean_interval(hits, np.random.default_rng(config.seed))
    save_tensors(out / "judge.safetensors", judge.state_dict())
    card = {
        "accuracy": {"value": value, "low": low, "high": high, "n": n},
        "measure": "altered views of pictures that the judge never saw, nearest neighbour among all of them",
        "trained_on": len(own),
        "config": {"steps": config.steps, "batch": config.batch, "width": config.width, "features": config.features},
        "image_px": IMAGE_PX,
        "id": sha256_file(out / "judge.safetensors")[:16],
    }
    write_json(out / "judge.json", card)


def load_judge(folder: Path, config: JudgeConfig) -> Judge:
    """The judge of a folder that `train_judge` filled."""
    judge = Judge(config)
    try:
        judge.load_state_dict(load_tensors(folder / "judge.safetensors"))
    except RuntimeError as error:
        raise StorageError(
            f"{str(folder)!r} holds no judge of this recipe: {' '.join(str(error).split())[:120]}"
        ) from error
    return judge.eval()


def _recognised(judge: Judge, dataset: Path, config: JudgeConfig) -> list[float]:
    """1 for each picture outside the judge's split whose altered view is nearest to its original, else 0."""
    splits = [name for name in load(dataset).card.splits if name != "judge"]
    pictures = [picture for name in splits for picture in load_corpus(dataset, name).images(IMAGE_PX)]
    rng = generator(config.seed, "accuracy")
    asked = torch.randperm(len(pictures), generator=rng)[: config.probes]
    views = to_tensor([pictures[place] for place in asked.tolist()])
    with torch.no_grad():
        found = F.normalize(judge(altered(views, rng)), dim=1) @ judge.features(pictures).T
    nearest = found.argmax(1).tolist()
    # Two captions may share one picture (the flags of Norway and Svalbard): either is right.
    return [float(np.array_equal(pictures[a], pictures[b])) for a, b in zip(asked.tolist(), nearest, strict=True)]
