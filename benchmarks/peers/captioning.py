"""Show and Tell beside transformers' VisionEncoderDecoder from scratch: same tensors, CPU-seconds and evaluator.

    python -m venv peers && peers/bin/pip install -e . transformers==5.23.0
    peers/bin/python benchmarks/peers/captioning.py --data data/emoji --seconds 120 --out captioning.json

Both see the same pictures (48 px, in [-1, 1]) and word numbers in batches of 64 by the same order, with the same noise,
and learn by the loop of `mmgen.training.loop` on one thread: AdamW, warm-up, flat, linear decay, averaged weights.
Steps are set from the time of a few first ones, so that each loop takes `--seconds` of `time.process_time()`; what it
really took is in the table. The peer is the library's own: a ViT of 8 x 8 patches and a GPT-2 with cross-attention, of
as many parameters within 5 %. It gets its own learning rate, `--peer-lr`, and the library's dropout.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmgen.data.corpus import load_corpus
from mmgen.data.order import generator
from mmgen.evaluation.metrics.bootstrap import mean_interval
from mmgen.evaluation.tasks import captions
from mmgen.evaluation.tasks.task import Subject
from mmgen.modalities.image import Picture, to_tensor
from mmgen.models.anyto.vocabulary import END, PAD, Vocabulary
from mmgen.models.base import Loss, seeded
from mmgen.models.captioner.config import ShowTellConfig
from mmgen.models.captioner.model import Batch, ShowTell
from mmgen.progress import Progress
from mmgen.recipes.show_and_tell import show_and_tell
from mmgen.training.config import TrainingConfig
from mmgen.training.loop import learn

TIMED = 12
"""Steps that are timed to know how many fit the budget."""
SHOWN = ("exact_seen", "chrf_seen", "bleu4_seen", "exact_compositions", "chrf_compositions", "chrf_concepts")


class Peer(nn.Module):
    """VisionEncoderDecoder, first weights from `rng`, with the two methods that our loop and evaluator call."""

    def __init__(self, config: ShowTellConfig, vocabulary: Vocabulary, rng: torch.Generator) -> None:
        super().__init__()
        from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

        self.config, self.vocabulary = config, vocabulary
        vision = ViTConfig(
            hidden_size=128,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=512,
            image_size=config.image_px,
            patch_size=8,
        )
        text = GPT2Config(
            vocab_size=len(vocabulary),
            n_positions=config.max_words,
            n_embd=128,
            n_layer=3,
            n_head=4,
            n_inner=640,
            add_cross_attention=True,
            bos_token_id=vocabulary.start("en"),
            eos_token_id=END,
            pad_token_id=PAD,
        )
        both = VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, text)
        both.decoder_start_token_id, both.pad_token_id, both.eos_token_id = vocabulary.start("en"), PAD, END
        with seeded(rng):
            self.net = VisionEncoderDecoderModel(config=both)

    def objectives(self, batch: Batch) -> dict[str, Loss]:
        """The same as ours: cross-entropy in nats a word."""
        return {"text": partial(self._loss, batch)}

    def _loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        x_B3SS = batch.x_B3SS + self.config.noise * torch.randn(batch.x_B3SS.shape, generator=rng)
        words_BT = batch.words_BT[:, 1 : int((batch.words_BT != PAD).sum(1).max())]
        loss: Tensor = self.net(pixel_values=x_B3SS, labels=words_BT.masked_fill(words_BT == PAD, -100)).loss
        return loss

    @torch.no_grad()
    def generate(
        self, given: Mapping[str, Sequence[Picture]], to: str, n: int, *, seed: int, options: Mapping[str, Any]
    ) -> list[str]:
        """Greedy, as ours."""
        rows: list[list[int]] = []
        for start in range(0, n, 256):
            x_B3SS = to_tensor(given["image"][start : start + 256])
            rows += self.net.generate(pixel_values=x_B3SS, max_new_tokens=self.config.max_words - 1).tolist()
        return [self.vocabulary.decode(row) for row in rows]


def run(
    make: Callable[[ShowTell, int], nn.Module], training: TrainingConfig, seconds: float, data: Path, seed: int
) -> dict[str, Any]:
    """Train for `seconds` CPU-seconds what `make` makes, and judge it.

    `make` is told our model with its first weights, and the seed.
    """
    train = load_corpus(data, "train")
    recipe = replace(show_and_tell(), seed=seed)
    ours = ShowTell.fit(recipe.model, train, recipe.data, generator(seed, "fit"))
    batches = ours.batches(train, seed)

    def learned(count: int) -> tuple[nn.Module, float]:
        model = make(copy.deepcopy(ours), seed)
        with tempfile.TemporaryDirectory() as folder:
            config = replace(training, steps=count, threads=1, sample_every=10**6)
            started = time.process_time()
            learn(model, batches, config, seed, Path(folder), Progress(), lambda step: None)
            return model, time.process_time() - started

    learned(3)  # the first steps of a process are slower
    count = int(seconds * TIMED / learned(TIMED)[1])
    model, spent = learned(count)
    model.eval()
    with tempfile.TemporaryDirectory() as folder:
        findings = captions.evaluate(Subject(model, Path(folder), data, recipe, Progress()))  # type: ignore[arg-type]
    rng = np.random.default_rng(recipe.evaluation.seed)
    metrics = {name: mean_interval(values, rng)._asdict() for name, values in findings.scores.items()}
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": count,
        "epochs": round(count * recipe.model.batch / len(train), 1),
        "cpu_seconds": round(spent, 1),
        "seed": seed,
        "metrics": metrics | findings.metrics,
    }


def main() -> None:
    """Run both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/emoji"))
    parser.add_argument("--seconds", type=float, default=120.0, help="CPU-seconds of each training loop")
    parser.add_argument("--peer-lr", type=float, nargs="+", default=[1e-3], help="peak learning rates to try")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", choices=("ours", "peer"))
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    ours = show_and_tell().training
    found: list[dict[str, Any]] = []
    for seed in asked.seeds:
        if asked.only != "peer":
            made = run(lambda model, _: model, ours, asked.seconds, asked.data, seed)
            found.append({"name": "mmgen show-and-tell", **made})
        for lr in asked.peer_lr if asked.only != "ours" else ():
            made = run(_peer, replace(ours, lr=lr, table_lr=1.0), asked.seconds, asked.data, seed)
            found.append({"name": f"transformers VisionEncoderDecoder, lr {lr:g}", **made})
        asked.out.write_text(json.dumps(found, indent=1))
    print("| model | parameters | CPU-s | epochs | " + " | ".join(SHOWN) + " |\n" + "|---" * (4 + len(SHOWN)) + "|")
    for one in found:
        scores = " | ".join(f"{one['metrics'][f'text.{name}']['value']:.3f}" for name in SHOWN)
        print(f"| {one['name']} | {one['parameters']:,} | {one['cpu_seconds']} | {one['epochs']} | {scores} |")


def _peer(model: ShowTell, seed: int) -> Peer:
    return Peer(model.config, model.vocabulary, generator(seed, "fit"))


if __name__ == "__main__":
    main()
