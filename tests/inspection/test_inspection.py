"""Looking inside: the views find what was planted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmgen import models
from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.order import generator
from mmgen.errors import ConfigError
from mmgen.examples import Example
from mmgen.inspection.attention import attention
from mmgen.inspection.attribution import erased, spoken_for, words
from mmgen.inspection.drawing import lit
from mmgen.inspection.failures import LEAST, WORST, by_group, gallery
from mmgen.inspection.inspect import inspect
from mmgen.inspection.latent import STEPS, interpolations, traversals
from mmgen.inspection.neighbours import neighbours
from mmgen.inspection.views import ask, views
from mmgen.modalities.image import Picture, to_tensor
from mmgen.models.anyto.config import AnyToConfig
from mmgen.models.anyto.model import AnyTo
from mmgen.models.anyto.vocabulary import END
from mmgen.models.base import Model
from mmgen.models.captioner.config import ShowTellConfig
from mmgen.models.captioner.model import ShowTell
from mmgen.models.gan.config import GANConfig
from mmgen.models.gan.model import GAN
from mmgen.models.shared.interpolation import arc, line
from mmgen.models.tokens.config import TokensConfig
from mmgen.models.tokens.model import Tokens
from mmgen.models.vae.config import VAEConfig
from mmgen.models.vae.model import VAE
from mmgen.recipes import get

SIDE = 32
FAMILIES: dict[str, tuple[type[Model], Any]] = {
    "showtell": (ShowTell, ShowTellConfig(image_px=SIDE, channels=16, word_width=16, width=16, place_width=8)),
    "anyto": (
        AnyTo,
        AnyToConfig(image_px=SIDE, components=16, image_tokens=4, width=16, head_width=32, memory_rows=64),
    ),
    "tokens": (Tokens, TokensConfig(image_px=SIDE, components=32, codes=8, positions=4, codebook=16, width=32)),
}


@pytest.fixture(scope="module")
def corpus(tiny_emoji: Path) -> Corpus:
    return load_corpus(tiny_emoji, "train")


def fitted(family: str, corpus: Corpus) -> Any:
    kind, config = FAMILIES[family]
    return kind.fit(config, corpus, DataConfig(), generator(0, "fit"))


def plain(red: int, green: int, blue: int) -> Picture:
    return np.full((SIDE, SIDE, 3), (red, green, blue), np.uint8)


class Toy(Model):
    """Says `dark` of a picture whose upper left quarter is dark; draws `red` red and minds no other word."""

    languages = ("en",)
    config = ShowTellConfig(image_px=SIDE)

    def pairs(self) -> tuple[tuple[str, str], ...]:
        return (("image", "text"), ("text", "image"))

    def word_likelihoods(self, x_B3SS: Tensor, caption: str, language: str) -> Tensor:
        dark_B = -x_B3SS[:, :, : SIDE // 2, : SIDE // 2].mean((1, 2, 3))
        return torch.stack([dark_B, torch.zeros_like(dark_B)], 1) - 1

    def generate(
        self, given: Mapping[str, Sequence[Any]], to: str, n: int, *, seed: int, options: Mapping[str, Any]
    ) -> list[Any]:
        if to == "text":
            return ["dark thing"] * n
        return [plain(255, 0, 0) if "red" in text else plain(0, 0, 255) for text in given["text"]]

    def attention(self, pictures: Sequence[Picture]) -> list[tuple[list[str], Any]]:
        maps = np.zeros((1, 4, 4), np.float32)
        maps[0, 0, 3] = 1
        return [(["corner"], maps) for _ in pictures]


def test_occlusion_finds_the_part_of_the_picture_that_decides_and_nothing_for_a_word_that_no_pixel_decides() -> None:
    decided, free = spoken_for(Toy(), plain(0, 0, 0), "dark thing")

    half = SIDE // 2
    assert decided[:half, :half].min() > 0
    assert decided[half + 8 :, half + 8 :] == pytest.approx(0)
    assert free == pytest.approx(0)


def test_without_the_word_that_decides_the_picture_moves_and_without_another_it_stays() -> None:
    whole, found = erased(Toy(), "a red, round heart", 0)

    moved = {word: far for word, _, far in found}
    assert np.array_equal(whole, plain(255, 0, 0))
    assert moved == {"a": 0, "red": pytest.approx((2 / 3) ** 0.5), "round": 0, "heart": 0}  # two of three channels
    assert words(Toy(), ["a red, round heart"], 0).sheet is not None


def test_light_falls_on_the_place_that_the_model_looked_at() -> None:
    ((_, maps),) = Toy().attention([plain(255, 255, 255)])

    shown = lit(plain(255, 255, 255), maps[0]).mean(axis=2)

    assert shown[:4, -4:].min() > 200
    assert shown[SIDE // 2 :].max() < 80
    assert attention(Toy(), [plain(255, 255, 255)]).sheet is not None


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_the_likelihood_of_words_agrees_with_what_the_model_says(family: str, corpus: Corpus) -> None:
    model = fitted(family, corpus)
    model.word.weight[model.vocabulary.words.index("<en>")] = 0  # untrained, it would repeat this mark
    picture = corpus.images(SIDE)[3]
    said = model.generate({"image": [picture]}, "text", 1, seed=0, options={})[0]
    x_13SS, known = to_tensor([picture]), model.vocabulary.words[4:]

    alone = {word: float(model.word_likelihoods(x_13SS, word, "en")[0, 0]) for word in known}
    pair_BT = model.word_likelihoods(to_tensor([picture, plain(0, 0, 0)]), f"{known[5]} {known[7]}", "en")

    assert 0.5 < sum(np.exp(list(alone.values()))) < 1  # the end and the unknown word have the rest
    assert pair_BT.shape == (2, 2)
    assert float(pair_BT[0, 0]) == pytest.approx(alone[known[5]], abs=1e-4)  # what comes later does not matter
    first = model.vocabulary.encode(said, "en", model.config.max_words)[1]
    if first != END:
        assert model.vocabulary.words[first] == max(alone, key=lambda word: alone[word])


def test_the_planted_copy_is_the_nearest_neighbour_and_is_called_one(corpus: Corpus) -> None:
    train = corpus.images(SIDE)

    copied, other = neighbours([train[7], 255 - train[7]], ["copy", "other"], train, None).examples

    assert np.array_equal(copied.media["nearest in pixels"], train[7])
    assert copied.remarks == [("a copy", False)]
    assert other.remarks[0][1] is None


def test_the_judge_has_a_nearest_neighbour_of_its_own(corpus: Corpus) -> None:
    train = corpus.images(SIDE)

    def last_pixel(pictures: list[Picture]) -> Any:
        return np.array([[float(picture[-1, -1].mean())] for picture in pictures])

    (tile,) = neighbours([train[5]], [""], [plain(9, 9, 9), *train[:6]], last_pixel).examples

    assert np.array_equal(tile.media["nearest in pixels"], train[5])
    assert last_pixel([tile.media["nearest to the judge"]]) == last_pixel([train[5]])


def test_the_gallery_shows_the_planted_failure_of_each_group_first_and_leaves_small_groups_out() -> None:
    groups = ["cats"] * LEAST + ["dogs"] * LEAST + ["newts"]
    losses = [0.0] * len(groups)
    losses[3], losses[LEAST + 1], losses[-1] = 9.0, 5.0, 99.0
    tiles = [Example(f"prompt {row}") for row in range(len(groups))]

    found = [tile.title for tile in gallery(tiles, losses, groups, "loss").examples]

    assert found[0] == "cats: prompt 3"
    assert found[WORST] == f"dogs: prompt {LEAST + 1}"
    assert len(found) == 2 * WORST
    alone = gallery(tiles, losses, [""] * len(groups), "loss").examples
    assert alone[0].title == f"all: prompt {len(groups) - 1}"


def test_an_answer_that_is_right_is_no_failure() -> None:
    tiles = [Example(f"prompt {row}", remarks=[("taken for it", row != 2)]) for row in range(LEAST)]

    found = gallery(tiles, [1.0] * LEAST, ["cats"] * LEAST, "loss").examples

    assert [tile.title for tile in found] == ["cats: prompt 2"]


def test_scores_are_told_group_by_group() -> None:
    values, groups = [1.0] * LEAST + [0.0] * LEAST, ["cats"] * LEAST + ["dogs"] * LEAST

    found = by_group(values, groups, np.random.default_rng(0), 20)

    assert found["cats"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": LEAST}
    assert found["dogs"]["value"] == 0.0


def test_a_line_is_straight_and_an_arc_keeps_the_length() -> None:
    ends = torch.tensor([[1.0, 0.0], [0.0, 1.0]])

    assert line(ends, 3)[1].tolist() == [0.5, 0.5]
    torch.testing.assert_close(arc(ends, 5).norm(dim=1), torch.ones(5))
    torch.testing.assert_close(arc(ends, 5)[[0, -1]], ends)
    torch.testing.assert_close(arc(ends[[0, 0]], 3), ends[[0, 0, 0]])


def test_the_ends_of_the_way_between_two_captions_are_their_pictures(corpus: Corpus) -> None:
    model, texts = fitted("anyto", corpus), corpus.captions("en")[:2]

    way = model.between({"text": texts}, STEPS, seed=0)

    alone = [model.generate({"text": [text]}, "image", 1, seed=0, options={})[0] for text in texts]
    assert len(way) == STEPS
    assert np.abs(way[0].astype(int) - alone[0]).max() <= 1
    assert np.abs(way[-1].astype(int) - alone[1]).max() <= 1


def test_latent_numbers_are_walked_and_those_that_carry_most_come_first(corpus: Corpus) -> None:
    vae = VAE.fit(VAEConfig(image_px=16, latent=3, width=16), corpus, DataConfig(), generator(0, "fit"))
    gan = GAN.fit(GANConfig(image_px=16), corpus, DataConfig(), generator(0, "fit"))
    nats_Z = vae.latent_nats(corpus)
    pictures = corpus.images(16)

    assert nats_Z.shape == (3,)
    assert traversals(vae, nats_Z).sheet is not None
    assert interpolations(vae, [{"image": pictures[:2]}], 0).sheet is not None
    ends = vae.between({"image": pictures[:2]}, STEPS, seed=0)
    assert np.array_equal(ends[0], vae.reconstruct(pictures[:1])[0])
    assert np.array_equal(gan.between({}, STEPS, seed=0)[0], gan.generate({}, "image", 1, seed=0, options={})[0])


def test_every_view_is_shown_or_its_absence_explained(corpus: Corpus) -> None:
    asked = ask(Toy(), {"image": [plain(0, 0, 0)]}, corpus, None, 0)

    sections, missing = views(asked)

    assert [section.name for section in sections] == ["image_answers", "image_attention", "image_pixels"]
    assert "--from text=" in missing["words that move the picture"]
    assert "this family" in missing["latent traversals"]
    with pytest.raises(ConfigError, match="unknown source of this model 'sound'"):
        ask(Toy(), {"sound": [np.zeros(9, np.float32)]}, corpus, None, 0)


def test_the_page_of_held_out_prompts_needs_nothing_from_outside(
    tiny_emoji: Path, corpus: Corpus, tmp_path: Path
) -> None:
    models.save(fitted("anyto", corpus), tmp_path / "model")

    page, missing = inspect(tmp_path / "model", get("emoji"), tiny_emoji, None, None, {}, 0)

    assert "Which pixels speak for each word" in page
    assert "Nearest training pictures" in page
    assert "failures by group" in missing
    assert page.count('src="data:') > 10
    assert not re.search(r"""(src|href)=(?!"data:)""", page)
    assert "<script" not in page
    assert "://" not in page
