"""Going on from another model: what is kept, what grows, what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from mmgen import models
from mmgen.data.corpus import load_corpus
from mmgen.data.order import generator
from mmgen.errors import ConfigError
from mmgen.modalities.image import to_tensor
from mmgen.models.anyto.codec import PrincipalCodec
from mmgen.models.anyto.model import AnyTo
from mmgen.models.anyto.vocabulary import Vocabulary
from mmgen.models.vae.config import VAEConfig
from mmgen.models.vae.model import VAE
from mmgen.progress import Progress
from mmgen.recipes import get
from mmgen.training.train import train

SMALL = ["model.image_px=16", "model.components=64", "model.image_tokens=4", "model.width=16", "model.head_width=32"]
SMALL += ["model.memory_rows=64"]


@pytest.fixture
def learned(tiny_emoji: Path) -> AnyTo:
    """A model whose weights are far from the first ones."""
    recipe = get("emoji", SMALL)
    model = AnyTo.fit(recipe.model, load_corpus(tiny_emoji, "train"), recipe.data, generator(0, "fit"))
    rng = generator(0, "learned")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
    return model


def test_known_words_keep_their_numbers() -> None:
    first = Vocabulary.fit(["red heart"], ("en",))
    grown = first.grown(["rotes Herz", "red rose"], ("de",))
    assert grown.words[: len(first)] == first.words
    assert set(grown.words[len(first) :]) == {"<de>", "rotes", "Herz", "rose"}
    assert grown.encode("red heart", "en", 6) == first.encode("red heart", "en", 6)


def test_the_head_draws_the_same_in_new_coefficients(learned: AnyTo, tiny_emoji: Path) -> None:
    """Of a codec that shows as much as the old one: here the same components in another order, at another scale."""
    old, head = learned.codec, learned.head
    pictures = to_tensor(load_corpus(tiny_emoji, "train").images(16)[:8])
    condition, t = torch.randn(8, head.condition.in_features, generator=generator(1)), torch.full((8,), 0.5)
    before = old.decode(head(old.encode(pictures), t, condition))
    turned = PrincipalCodec(16, 64)
    turned.load_state_dict(old.state_dict())
    turned.basis_PC.copy_(old.basis_PC.flip(1))
    turned.scale_C.copy_(2 * old.scale_C.flip(0))
    turned.mean_P.copy_(old.mean_P + 0.3 * old.basis_PC[:, 0])
    with torch.no_grad():
        head.turn(*turned.map_to(old), *old.map_to(turned))
    after = turned.decode(head(turned.encode(pictures), t, condition))
    assert torch.allclose(after, before, atol=1e-3)
    assert not torch.allclose(old.decode(head(old.encode(pictures), t, condition)), before, atol=0.1)


def test_new_languages_and_words_are_added(learned: AnyTo, tiny_emoji: Path) -> None:
    corpus = load_corpus(tiny_emoji, "train")
    words = learned.word.weight.detach().clone()
    data = dataclasses.replace(get("emoji").data, languages=("de",))
    learned.adapt(corpus, data, generator(0, "fit"))
    assert learned.languages == ("de",)
    assert len(learned.vocabulary) == len(learned.word.weight) == len(learned.memory.word.weight) > len(words)
    assert torch.equal(learned.word.weight[: len(words)], words)
    assert not learned.unknown_words(corpus.captions("de")[0])
    learned.generate({"text": corpus.captions("de")[:1]}, "image", 1, seed=0, options={})


def test_other_sizes_are_refused_by_name(learned: AnyTo, tmp_path: Path) -> None:
    models.save(learned, tmp_path)
    wider = get("emoji", [*SMALL, "model.width=32"]).model
    with pytest.raises(ConfigError, match=r"model\.width=16"):
        models.load_as(tmp_path, wider)
    assert models.load_as(tmp_path, get("emoji", [*SMALL, "model.guidance=3"]).model).config.guidance == 3
    with pytest.raises(ConfigError, match="family 'anyto' cannot start one of family 'vae'"):
        models.load_as(tmp_path, VAEConfig())


def test_a_family_that_cannot_grow_says_what_differs(digits: Path, tiny_emoji: Path) -> None:
    config = VAEConfig(classes=True)
    recipe = get("conditional-vae")
    model = VAE.fit(config, load_corpus(digits, "test"), recipe.data, generator(0))
    model.adapt(load_corpus(digits, "test"), recipe.data, generator(0))
    with pytest.raises(ConfigError, match="classes would differ"):
        model.adapt(load_corpus(tiny_emoji, "train"), recipe.data, generator(0))


@pytest.mark.parametrize("recipe", ["emoji", "emoji-tokens"])
@pytest.mark.parametrize(("left_out", "pair"), [("text", ("text", "image")), ("image", ("image", "text"))])
def test_a_task_that_is_left_out_is_neither_learned_nor_offered(
    tiny_emoji: Path, tmp_path: Path, recipe: str, left_out: str, pair: tuple[str, str]
) -> None:
    sizes = {
        "emoji": [*SMALL, "model.image_batch=8", "model.text_batch=4"],
        "emoji-tokens": [
            "model.image_px=16", "model.width=16", "model.depth=1", "model.image_batch=8", "model.text_batch=4",
        ],
    }  # fmt: skip
    settings = [*sizes[recipe], f"model.{left_out}_batch=0", "training.steps=2", "training.threads=1"]
    for name in ("out", "work"):
        (tmp_path / name).mkdir()

    train(tiny_emoji, get(recipe, settings), tmp_path / "out", tmp_path / "work", Progress())

    model = models.load(tmp_path / "out" / "model")
    assert model.pairs() == (pair,)
    row = json.loads((tmp_path / "out" / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"loss_{left_out}" not in row
    assert (tmp_path / "out" / "samples" / "step-000002.png").is_file()
