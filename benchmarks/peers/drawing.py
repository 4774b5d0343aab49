"""The flagship beside a diffusers conditional UNet and transfusion-pytorch: same captions, CPU-seconds and evaluator.

    python -m venv peers && peers/bin/pip install -e . diffusers==0.42.1 transfusion-pytorch==0.20.0
    peers/bin/python benchmarks/peers/drawing.py --data data/emoji --judge J --seconds 230 --out drawing.json

J is the folder of the judge stage of a run of `emoji`. All learn by the loop of `mmgen.training.loop` on one thread,
from the same pictures and word numbers in the same order, with warm-up, decay and averaged weights; the peers with
their own losses, samplers and networks. Steps are set from the time of a few first ones, so that each loop takes
`--seconds` of `time.process_time()`; what it really took is in the table. The task `captioned` judges all drawings.

- UNet: `UNet2DConditionModel` at 32 x 32 pixels (at 64 a step costs four times as much), enlarged to be judged; words
  are embedded and given by cross-attention; flow matching with `FlowMatchEulerDiscreteScheduler`.
- transfusion-pytorch: on the coefficients that our own codec gives, as 8 tokens; its flow loss is divided by their
  width, without which it drowns the words.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgen.data.config import DataConfig
from mmgen.data.corpus import load_corpus
from mmgen.data.order import generator
from mmgen.evaluation.metrics.bootstrap import mean_interval
from mmgen.evaluation.tasks import captioned
from mmgen.evaluation.tasks.task import Subject
from mmgen.modalities.image import Picture, from_tensor, resize
from mmgen.models.anyto.batches import Batch
from mmgen.models.anyto.model import AnyTo
from mmgen.models.anyto.vocabulary import PAD
from mmgen.models.base import Loss, seeded
from mmgen.progress import Progress
from mmgen.recipes.emoji import emoji
from mmgen.training.loop import learn

TIMED = 8
"""Steps that are timed to know how many fit the budget."""
SHOWN = ("r1_seen", "r5_seen", "r1_compositions", "r5_compositions", "kid")


class Peer(nn.Module):
    """A peer that draws; asked to describe, it says nothing, and those scores are left out."""

    def __init__(self, ours: AnyTo) -> None:
        super().__init__()
        self.config, self.vocabulary, self.codec = ours.config, ours.vocabulary, ours.codec

    def objectives(self, batch: Batch) -> dict[str, Loss]:
        """The peer's own loss."""
        return {"image": partial(self.loss, batch)}

    def reconstruct(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Not measured here."""
        return list(pictures)

    @torch.no_grad()
    def generate(
        self, given: Mapping[str, Sequence[Any]], to: str, n: int, *, seed: int, options: Mapping[str, Any]
    ) -> list[Any]:
        """Pictures of captions, in chunks."""
        if to == "text":
            return [""] * n
        words = [self.vocabulary.encode(caption, "en", self.config.max_words) for caption in given["text"]]
        with seeded(generator(seed, "peer")):
            chunks = [self.draw(torch.tensor(words[start : start + 64])) for start in range(0, n, 64)]
        return [resize(picture, self.config.image_px) for chunk in chunks for picture in from_tensor(chunk)]

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """To be minimised."""
        raise NotImplementedError

    def draw(self, words_BT: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [-1, 1]."""
        raise NotImplementedError


class UNet(Peer):
    """diffusers' conditional UNet, flow matching in pixels."""

    side, guidance, steps = 32, 2.0, 10

    def __init__(self, ours: AnyTo, rng: torch.Generator) -> None:
        from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DConditionModel

        super().__init__(ours)
        self.scheduler = FlowMatchEulerDiscreteScheduler()
        with seeded(rng):
            self.word = nn.Embedding(len(ours.vocabulary), 64)
            self.position = nn.Embedding(ours.config.max_words, 64)
            self.net = UNet2DConditionModel(
                sample_size=self.side,
                in_channels=3,
                out_channels=3,
                block_out_channels=(32, 64, 128),
                layers_per_block=1,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                cross_attention_dim=64,
                norm_num_groups=8,
                attention_head_dim=8,
            )

    def _flow(self, x_B3SS: Tensor, t_B: Tensor, words_BT: Tensor) -> Tensor:
        states = self.word(words_BT) + self.position.weight[: words_BT.shape[1]]
        flow: Tensor = self.net(x_B3SS, 1000 * t_B, states, encoder_attention_mask=words_BT != PAD).sample
        return flow

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Squared error of the velocity; one caption in ten is emptied."""
        x_B3SS = F.interpolate(self.codec.decode(batch.drawn_NC), (self.side, self.side), mode="area")
        noise = torch.randn(x_B3SS.shape, generator=rng)
        t_B = torch.randn(len(x_B3SS), generator=rng).sigmoid()
        hidden = torch.rand(len(x_B3SS), 1, generator=rng) < 0.1
        words_BT = torch.where(hidden, self._empty(batch.prompt_NT), batch.prompt_NT)
        part = t_B.view(-1, 1, 1, 1)
        return F.mse_loss(self._flow((1 - part) * x_B3SS + part * noise, t_B, words_BT), noise - x_B3SS)

    def draw(self, words_BT: Tensor) -> Tensor:
        """Guided Euler steps."""
        self.scheduler.set_timesteps(self.steps)
        x_B3SS = torch.randn(len(words_BT), 3, self.side, self.side)
        for t in self.scheduler.timesteps:
            t_B = (t / 1000).expand(len(x_B3SS))
            free, asked = (self._flow(x_B3SS, t_B, words) for words in (self._empty(words_BT), words_BT))
            x_B3SS = self.scheduler.step(free + self.guidance * (asked - free), t, x_B3SS).prev_sample
        return x_B3SS.clamp(-1, 1)

    @staticmethod
    def _empty(words_BT: Tensor) -> Tensor:
        """The start alone: every caption keeps its first token."""
        return torch.where(torch.arange(words_BT.shape[1]) == 0, words_BT, PAD)


class TransfusionPeer(Peer):
    """transfusion-pytorch on our coefficients."""

    tokens = 8

    def __init__(self, ours: AnyTo, rng: torch.Generator) -> None:
        from transfusion_pytorch import Transfusion

        super().__init__(ours)
        self.width = ours.config.components // self.tokens
        with seeded(rng):
            self.net = Transfusion(
                num_text_tokens=len(ours.vocabulary),
                dim_latent=self.width,
                modality_default_shape=(self.tokens,),
                modality_num_dim=1,
                add_pos_emb=True,
                prob_uncond=0.1,
                flow_loss_weight=1 / self.width,
                transformer={"dim": 160, "depth": 4, "heads": 4, "dim_head": 40},
            )

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """The library's: words and flow together."""
        z = batch.drawn_NC.view(len(batch.drawn_NC), self.tokens, self.width)
        rows = [[words[words != PAD], one] for words, one in zip(batch.prompt_NT, z, strict=True)]
        with seeded(rng):
            loss: Tensor = self.net(rows)
        return loss

    def draw(self, words_BT: Tensor) -> Tensor:
        """The library's sampler, its own steps and guidance."""
        prompts = [words[words != PAD] for words in words_BT]
        made = self.net.sample_many(
            prompts=prompts,
            fixed_modality_shape=(self.tokens,),
            force_modality_at_start=0,
            max_length=self.config.max_words + self.tokens + 4,
        )
        z = torch.stack([next(part[1] for part in one if isinstance(part, tuple)) for one in made])
        return self.codec.decode(z.reshape(len(made), -1))


def run(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Train one for `asked.seconds` CPU-seconds, and judge its drawings."""
    train = load_corpus(asked.data, "train")
    recipe = replace(emoji(), seed=asked.seed)
    ours = AnyTo.fit(recipe.model, train, DataConfig(), generator(asked.seed, "fit"))
    batches = ours.batches(train, asked.seed)
    peers = {"diffusers UNet2DConditionModel": UNet, "transfusion-pytorch": TransfusionPeer}
    training = recipe.training if name == "emoji" else replace(recipe.training, lr=asked.peer_lr, table_lr=1.0)

    def learned(count: int) -> tuple[Any, float]:
        rng = generator(asked.seed, "fit")
        model: Any = peers[name](ours, rng) if name in peers else AnyTo.fit(recipe.model, train, DataConfig(), rng)
        config = replace(training, steps=count, threads=1, sample_every=10**9)
        with tempfile.TemporaryDirectory() as folder:
            started = time.process_time()
            learn(model, batches, config, asked.seed, Path(folder), Progress(), lambda step: None)
            return model.eval(), time.process_time() - started

    learned(2)  # the first steps of a process are slower
    count = int(asked.seconds * TIMED / learned(TIMED)[1])
    model, spent = learned(count)
    started = time.process_time()
    found = captioned.evaluate(Subject(model, asked.judge, asked.data, recipe, Progress()))
    rng = Subject(model, asked.judge, asked.data, recipe, Progress()).rng()
    metrics = {key: mean_interval(values, rng)._asdict() for key, values in found.scores.items()} | found.metrics
    return {
        "model": name,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "cpu_seconds": round(spent, 1),
        "steps": count,
        "evaluation_cpu_seconds": round(time.process_time() - started, 1),
        "metrics": {key: value for key, value in metrics.items() if key.startswith("image.")},
    }


def main() -> None:
    """Run all three and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/emoji"))
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=230.0, help="CPU-seconds of each training loop")
    parser.add_argument("--peer-lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in ("emoji", "diffusers UNet2DConditionModel", "transfusion-pytorch"):
        rows.append(run(name, asked))
        asked.out.write_text(json.dumps(rows, indent=1))
        scores = " | ".join(f"{rows[-1]['metrics'][f'image.{key}']['value']:.3f}" for key in SHOWN)
        print(f"| {name} | {rows[-1]['parameters']:,} | {rows[-1]['cpu_seconds']} | {rows[-1]['steps']} | {scores} |")


if __name__ == "__main__":
    main()
