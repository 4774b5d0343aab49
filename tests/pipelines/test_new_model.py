"""Adding a model is one file and one line; a recipe of it goes through the whole pipeline."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.whole_run import ROOT

MODEL = '''
"""Mean pictures: the least that a model of asked classes can be."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mmgen.examples import Example
from mmgen.modalities.image import from_tensor, to_tensor
from mmgen.models.base import Model


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanConfig:
    """Config of Mean."""

    family: str = "mean"
    image_px: int = 28


class Mean(Model):
    """One learned picture a class."""

    Config = MeanConfig

    def __init__(self, config, words=("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")):
        super().__init__()
        self.config, self.words = config, words
        self.pictures = nn.Parameter(torch.zeros(len(words), 3, config.image_px, config.image_px))

    def pairs(self):
        return (("text", "image"),)

    def batches(self, corpus, seed):
        x, rows = to_tensor(corpus.images(28)), torch.tensor([self.words.index(word) for word in corpus.concepts])

        class Whole:
            def at(self, step):
                return x, rows

        return Whole()

    def objectives(self, batch):
        return {"fit": lambda rng: (self.pictures[batch[1]] - batch[0]).square().mean()}

    def generate(self, given, to, n, *, seed, options):
        return from_tensor(self.pictures[[self.words.index(word) for word in given["text"]]])

    def preview(self, corpus, seed):
        made = self.generate({"text": self.words}, "image", 10, seed=seed, options={})
        return [Example(word, {"made": picture}) for word, picture in zip(self.words, made)]
'''
RECIPE = '''
from mmgen.data.config import DataConfig
from mmgen.evaluation.config import EvaluationConfig, JudgeConfig
from mmgen.models.mean import MeanConfig
from mmgen.recipes.recipe import Recipe
from mmgen.training.config import TrainingConfig


def mean(size="default"):
    """Mean digits."""
    return Recipe(
        name="mean",
        size=size,
        model=MeanConfig(),
        data=DataConfig(name="digits"),
        training=TrainingConfig(steps=30, lr=0.2, warmup=1, ema=0.5, threads=1, sample_every=30),
        judge=JudgeConfig(kind="classes", steps=60, batch=32, width=8),
        evaluation=EvaluationConfig(task="samples", samples=50, resamples=50),
    )
'''


@pytest.mark.slow
def test_a_model_of_one_file_and_one_line_is_trained_judged_and_registered(digits: Path, tmp_path: Path) -> None:
    for name in ("mmgen", "components", "pipelines"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(digits, tmp_path / "data" / "digits")
    (tmp_path / "mmgen" / "models" / "mean.py").write_text(MODEL)
    add(tmp_path / "mmgen" / "models" / "__init__.py", "MODELS = {\n", '    "mean": "mmgen.models.mean:Mean",\n')
    (tmp_path / "mmgen" / "recipes" / "mean.py").write_text(RECIPE)
    add(tmp_path / "mmgen" / "recipes" / "__init__.py", "RECIPES = {\n", '    "mean": "mmgen.recipes.mean:mean",\n')
    rules = (ROOT / "gates.yaml").read_text() + "mean:\n  metrics:\n    image.asked: {direction: higher, floor: 0.5}\n"
    (tmp_path / "gates.yaml").write_text(rules)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MMGEN_", "MLFLOW_"))}
    place = {"cwd": tmp_path, "env": environment | {"PYTHONPATH": str(tmp_path)}, "text": True, "capture_output": True}

    done = subprocess.run([sys.executable, "-m", "pipelines.cli", "run", "mean", "--json"], check=False, **place)
    words = ["--recipe", "mean", "--from", "text=seven", "--to", "image", "--out", "seven.png"]
    drawn = subprocess.run([sys.executable, "-m", "pipelines.cli", "generate", *words], check=False, **place)

    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["model"] == {**summary["model"], "name": "mmgen-mean", "alias": "champion"}
    assert summary["metrics"]["image.asked"]["value"] > 0.5
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "seven.png").is_file()


def add(path: Path, after: str, line: str) -> None:
    content = path.read_text()
    assert after in content
    path.write_text(content.replace(after, after + line))
