"""The VAE beside pythae's, and fusion beside MultiVae's: same tensors, layers, CPU-seconds and evaluator.

    python -m venv peers && peers/bin/pip install -e . pythae==0.1.2 multivae==1.0.3
    peers/bin/python benchmarks/peers/latents.py vae --data data/digits --seconds 120 --out vae.json
    peers/bin/python benchmarks/peers/latents.py fusion --data data/spoken_digits --judge J --seconds 60 --out f.json

J is the folder of the judge stage of a run of `fusion`. The peers learn in their own trainers, with their own Adam,
from networks of the same layers and as many parameters as ours; pictures are made binary anew each time they are drawn,
for both. Epochs of the peers, and steps of ours, are set from the time of a first few, so that each loop takes
`--seconds` of `time.process_time()`; what it really took is in the table. Likelihoods are estimated by one function
with the same number of importance samples; coherence is what the task `coherence` measures.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.order import generator
from mmgen.evaluation.judges.concept_judge import ConceptJudge, load_concept_judge
from mmgen.evaluation.metrics.bootstrap import mean_interval
from mmgen.models.base import Model
from mmgen.models.multimodal_vae.config import JOINS, FusionConfig
from mmgen.models.multimodal_vae.model import NAMES, Fusion
from mmgen.models.vae.config import VAEConfig
from mmgen.models.vae.model import VAE, bernoulli_nats
from mmgen.progress import Progress
from mmgen.recipes import get
from mmgen.training.loop import learn

TIMED = 20
"""Steps of ours that are timed to know how many fit the budget."""
IMPORTANCE, TESTED = 300, 300


def main() -> None:
    """Measure one of the two."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["vae", "fusion"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--peer-lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = _vae(asked) if asked.what == "vae" else _fusion(asked)
    asked.out.write_text(json.dumps(rows, indent=1))
    for row in rows:
        print(json.dumps(row))


def _vae(asked: argparse.Namespace) -> list[dict[str, Any]]:
    from pythae import models as pythae
    from pythae.data.datasets import BaseDataset, DatasetOutput
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    train, test = load_corpus(asked.data, "train"), load_corpus(asked.data, "test")
    config = VAEConfig()
    grey = VAE.fit(config, train, DataConfig(name="digits"), generator(asked.seed, "fit"))
    x_NP = grey.pixels(train.images(config.image_px))
    test_NP = torch.bernoulli(grey.pixels(test.images(config.image_px)), generator=generator("evaluation", "binary"))
    test_NP = test_NP[:TESTED]

    class Binary(BaseDataset):  # type: ignore[misc]
        def __getitem__(self, index: int) -> Any:
            return DatasetOutput(data=torch.bernoulli(self.data[index]).view(1, 28, 28), labels=self.labels[index])

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = _layers(784, config.width, 2 * config.latent)

        def forward(self, x: Tensor) -> Any:
            mean, log = self.layers(2 * x.flatten(1) - 1).chunk(2, 1)
            return ModelOutput(embedding=mean, log_covariance=2 * log)

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = _layers(config.latent, config.width, 784)

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.layers(z).sigmoid().view(-1, 1, 28, 28))

    torch.manual_seed(asked.seed)
    settings = pythae.VAEConfig(input_dim=(1, 28, 28), latent_dim=config.latent, reconstruction_loss="bce")
    data = Binary(x_NP, torch.zeros(len(x_NP)))

    def run(model: Any, epochs: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            training = BaseTrainerConfig(
                output_dir=folder,
                num_epochs=epochs,
                per_device_train_batch_size=config.batch,
                learning_rate=asked.peer_lr,
                optimizer_cls="Adam",
                no_cuda=True,
            )
            started = time.process_time()
            BaseTrainer(model=model, train_dataset=data, eval_dataset=None, training_config=training).train()
            return time.process_time() - started

    epoch = run(pythae.VAE(settings, Encoder(), Decoder()), 1)
    peer = pythae.VAE(settings, Encoder(), Decoder())
    epochs = max(1, round(asked.seconds / epoch))
    took = run(peer, epochs)
    peer.eval()

    def peer_encode(x: Tensor) -> tuple[Tensor, Tensor]:
        said = peer.encoder(x.view(-1, 1, 28, 28))
        return said.embedding, said.log_covariance / 2

    def peer_decode(z: Tensor) -> Tensor:
        return torch.logit(peer.decoder(z).reconstruction.flatten(1).clamp(1e-6, 1 - 1e-6))

    rows = [_row("pythae VAE", peer, took, f"{epochs} epochs", nll=_nll(peer_encode, peer_decode, test_NP))]
    ours, took, steps = _ours("vae", config, train, asked)
    none = torch.zeros(len(test_NP), 0)
    nll = _nll(lambda x: ours.encode(x, none[: len(x)]), lambda z: ours.decode(z, none[: len(z)]), test_NP)
    return [*rows, _row("vae", ours, took, f"{steps} steps", nll=nll)]


@torch.no_grad()
def _nll(
    encode: Callable[[Tensor], tuple[Tensor, Tensor]], decode: Callable[[Tensor], Tensor], x_NP: Tensor
) -> dict[str, float]:
    """Nats of binary pictures by importance weighting, from means, log deviations and logits."""
    mean, log = encode(x_NP)
    weights = []
    for sample in range(IMPORTANCE):
        noise = torch.randn(mean.shape, generator=generator("nll", sample))
        z = mean + log.exp() * noise
        weights.append((noise.square() / 2 - z.square() / 2 + log).sum(1) - bernoulli_nats(decode(z), x_NP))
    nats = math.log(IMPORTANCE) - torch.stack(weights).logsumexp(0)
    return mean_interval(nats.numpy(), np.random.default_rng(0))._asdict()


def _fusion(asked: argparse.Namespace) -> list[dict[str, Any]]:
    train, test = load_corpus(asked.data, "train"), load_corpus(asked.data, "test")
    judge, config = load_concept_judge(asked.judge), FusionConfig()
    reference = Fusion.fit(config, train, DataConfig(name="spoken_digits"), generator(asked.seed, "fit"))
    real = reference.values(test)
    rows = []
    for name in ("MVAE", "MMVAE", "MoPoE", "MVTCAE"):
        peer, took, epochs = _multivae(name, reference, reference.values(train), asked)

        def ask(given: str, to: str, peer: Any = peer) -> Tensor:
            from multivae.data.datasets.base import MultimodalBaseDataset

            with torch.no_grad():
                return torch.as_tensor(
                    peer.predict(MultimodalBaseDataset(data=_shaped(real, reference)), cond_mod=given, gen_mod=to, N=1)[
                        to
                    ]
                ).view(len(test), -1)

        def draw(peer: Any = peer) -> dict[str, Tensor]:
            with torch.no_grad():
                made = peer.decode(peer.generate_from_prior(len(test)))
            return {name: made[name].view(len(test), -1) for name in NAMES}

        rows.append(
            _row(f"MultiVae {name}", peer, took, f"{epochs} epochs", **_coherence(reference, judge, test, ask, draw))
        )
    for join in JOINS:
        ours, took, steps = _ours("fusion", replace(config, join=join), train, asked)

        def ask_ours(given: str, to: str, ours: Any = ours) -> Tensor:
            z = ours.latent({given: real[given]}, len(test), 1, {})
            with torch.no_grad():
                out: Tensor = ours.sides[to].decoder(z)
            return out

        def draw_ours(ours: Any = ours) -> dict[str, Tensor]:
            z = ours.latent({}, len(test), 1, {})
            with torch.no_grad():
                return {name: side.decoder(z) for name, side in ours.sides.items()}

        rows.append(
            _row(f"fusion {join}", ours, took, f"{steps} steps", **_coherence(ours, judge, test, ask_ours, draw_ours))
        )
    return rows


def _multivae(name: str, like: Fusion, values: dict[str, Tensor], asked: argparse.Namespace) -> tuple[Any, float, int]:
    """A model of MultiVae with our layers, trained by its own trainer; its pictures' decoder gives probabilities."""
    import multivae.models as peers
    from multivae.data.datasets.base import DatasetOutput, MultimodalBaseDataset
    from multivae.models.nn.base_architectures import BaseDecoder, BaseEncoder
    from multivae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.models.base.base_utils import ModelOutput

    config = like.config

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self, count: int, grey: bool) -> None:
            super().__init__()
            self.latent_dim, self.grey = config.latent, grey
            self.layers = _layers(count, config.width, 2 * config.latent)

        def forward(self, x: Tensor) -> Any:
            x = x.flatten(1)
            mean, log = self.layers(2 * x - 1 if self.grey else x).chunk(2, 1)
            return ModelOutput(embedding=mean, log_covariance=2 * log.clamp(-5, 3))

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self, shape: tuple[int, ...], grey: bool) -> None:
            super().__init__()
            self.latent_dim, self.grey, self.shape = config.latent, grey, shape
            self.layers = _layers(config.latent, config.width, math.prod(shape))

        def forward(self, z: Tensor) -> Any:
            out = self.layers(z.reshape(-1, config.latent)).view(*z.shape[:-1], *self.shape)
            return ModelOutput(reconstruction=out.sigmoid() if self.grey else out)

    class Binary(MultimodalBaseDataset):  # type: ignore[misc]
        def __getitem__(self, index: int) -> Any:
            data = {key: side[index] for key, side in self.data.items()}
            return DatasetOutput(data=data | {"image": torch.bernoulli(data["image"])})

    values = _shaped(values, like)
    sizes = {key: tuple(side.shape[1:]) for key, side in values.items()}
    settings: dict[str, Any] = {
        "n_modalities": 3,
        "latent_dim": config.latent,
        "input_dims": sizes,
        "decoders_dist": {"image": "bernoulli", "text": "categorical", "sound": "normal"},
        "uses_likelihood_rescaling": True,
    }

    def made() -> Any:
        torch.manual_seed(asked.seed)
        parts = {
            key: (Encoder(math.prod(size), key == "image"), Decoder(size, key == "image"))
            for key, size in sizes.items()
        }
        return getattr(peers, name)(
            getattr(peers, f"{name}Config")(**settings),
            encoders={key: pair[0] for key, pair in parts.items()},
            decoders={key: pair[1] for key, pair in parts.items()},
        )

    data = Binary(data=values)

    def run(model: Any, epochs: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            training = BaseTrainerConfig(
                output_dir=folder,
                num_epochs=epochs,
                per_device_train_batch_size=config.batch,
                learning_rate=asked.peer_lr,
                no_cuda=True,
            )
            started = time.process_time()
            BaseTrainer(model=model, train_dataset=data, training_config=training).train()
            return time.process_time() - started

    epochs = max(1, round(asked.seconds / run(made(), 1)))
    peer = made()
    took = run(peer, epochs)
    return peer.eval(), took, epochs


def _shaped(values: dict[str, Tensor], like: Fusion) -> dict[str, Tensor]:
    """Words as (N, letters, alphabet), as MultiVae's categorical wants them."""
    return values | {"text": values["text"].view(len(values["text"]), like.text.letters, -1)}


def _coherence(
    like: Fusion, judge: ConceptJudge, test: Corpus, ask: Callable[..., Tensor], draw: Callable[..., dict[str, Tensor]]
) -> dict[str, Any]:
    """Cross and joint coherence from decoder outputs; logits for our pictures, probabilities for the peers'."""

    def things(name: str, out: Tensor) -> list[Any]:
        if name == "image" and float(out.min()) >= 0 and float(out.max()) <= 1:
            out = torch.logit(out.clamp(1e-6, 1 - 1e-6))
        return like.sides[name].things(out)

    hits = []
    for given in NAMES:
        for to in NAMES:
            if given != to:
                said = judge.names(to, things(to, ask(given, to)))
                hits.append([float(a == b) for a, b in zip(said, test.concepts, strict=True)])
    made = draw()
    said = [judge.names(name, things(name, made[name])) for name in NAMES]
    agree = [float(len(set(names)) == 1) for names in zip(*said, strict=True)]
    rng = np.random.default_rng(0)
    return {
        "cross": mean_interval(np.mean(hits, 0), rng)._asdict(),
        "joint": mean_interval(agree, rng)._asdict(),
    }


def _ours(name: str, config: Any, train: Corpus, asked: argparse.Namespace) -> tuple[Any, float, int]:
    """Our recipe's model after as many steps as the budget allows: (model, CPU-seconds, steps)."""
    recipe = get(name)
    family = {"vae": VAE, "fusion": Fusion}[name]

    def run(steps: int) -> tuple[Model, float]:
        model = family.fit(config, train, recipe.data, generator(asked.seed, "fit"))
        training = replace(recipe.training, steps=steps, threads=1, sample_every=10**9)
        with tempfile.TemporaryDirectory() as folder:
            batches = model.batches(train, asked.seed)
            started = time.process_time()
            learn(model, batches, training, asked.seed, Path(folder), Progress(), lambda step: None)
            return model.eval(), time.process_time() - started

    steps = max(TIMED, round(asked.seconds / run(TIMED)[1] * TIMED))
    model, took = run(steps)
    return model, took, steps


def _row(name: str, model: nn.Module, took: float, length: str, **scores: Any) -> dict[str, Any]:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"model": name, "parameters": parameters, "cpu_seconds": round(took, 1), "length": length, **scores}


def _layers(given: int, width: int, made: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(given, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, made))


if __name__ == "__main__":
    main()
