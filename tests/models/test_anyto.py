"""The any-to-any model: what each part promises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mmgen import models
from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.dataset import load
from mmgen.data.order import generator
from mmgen.errors import ConfigError, StorageError
from mmgen.generate import Generator
from mmgen.models.anyto.codec import PrincipalCodec
from mmgen.models.anyto.config import AnyToConfig
from mmgen.models.anyto.flow import sample
from mmgen.models.anyto.model import AnyTo
from mmgen.models.anyto.vocabulary import Vocabulary, join, split

SMALL = AnyToConfig(image_px=16, components=16, image_tokens=4, width=16, heads=2, head_width=32, memory_rows=64)


@pytest.fixture(scope="module")
def corpus(tiny_emoji: Path) -> Corpus:
    return load_corpus(tiny_emoji, "train")


@pytest.fixture(scope="module")
def model(corpus: Corpus) -> AnyTo:
    made = AnyTo.fit(SMALL, corpus, DataConfig(languages=("en", "de")), generator(0, "fit"))
    for parameter in made.parameters():  # zero-initialised parts would hide mistakes
        torch.nn.init.normal_(parameter, std=0.1, generator=generator(0, parameter.shape))
    return made


def test_every_caption_of_the_data_set_survives_splitting_and_joining(emoji: Path) -> None:
    captions = [sample.facts()["captions"]["en"] for sample in load(emoji).split("train")]

    changed = [caption for caption in captions if join(split(caption)) != caption]

    assert len(changed) <= len(captions) * 0.02, changed[:10]


def test_vocabulary_gives_back_what_it_encoded_and_names_what_it_does_not_know() -> None:
    vocabulary = Vocabulary.fit(["red heart", "man farmer, dark skin tone"], ["en"])

    numbers = vocabulary.encode("man farmer, dark skin tone", "en", 12)

    assert len(numbers) == 12
    assert vocabulary.decode(numbers) == "man farmer, dark skin tone"
    assert vocabulary.unknown("red hart") == {"hart": "heart"}


def test_captions_packed_together_are_read_as_if_each_were_alone(model: AnyTo, corpus: Corpus) -> None:
    rows = torch.tensor([model.vocabulary.encode(text, "en", 20) for text in corpus.captions("en")[:8]])

    together = model.read_text(rows)
    alone = torch.cat([model.read_text(row[None]) for row in rows])

    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_a_word_is_predicted_from_the_picture_and_the_words_before_it_alone(model: AnyTo) -> None:
    z = torch.randn(2, 16, generator=generator(1))
    words = torch.randint(3, len(model.vocabulary), (2, 6), generator=generator(2))
    later = words.clone()
    later[:, 4:] = 3

    before, after = model._describe(z, words), model._describe(z, later)

    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 5], after[:, 5])


def test_codec_with_as_many_components_as_pictures_loses_nothing() -> None:
    images = torch.rand(12, 3, 16, 16, generator=generator(3)) * 2 - 1
    codec = PrincipalCodec(16, 16)

    codec.fit(images, torch.ones(12), generator(4))

    torch.testing.assert_close(codec.decode(codec.encode(images)), images, atol=1e-3, rtol=0)


def test_sampling_arrives_where_a_head_that_knows_the_answer_points() -> None:
    answer = torch.randn(3, 8, generator=generator(5))

    class Knows(torch.nn.Module):
        def forward(self, z: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
            return answer

    noise = torch.randn(3, 8, generator=generator(6))
    for steps in (1, 4):
        drawn = sample(Knows(), torch.zeros(3, 2), torch.zeros(2), noise, steps, guidance=1.5)  # type: ignore[arg-type]
        torch.testing.assert_close(drawn, answer)


def test_a_saved_model_draws_and_describes_as_before(model: AnyTo, corpus: Corpus, tmp_path: Path) -> None:
    models.save(model, tmp_path)

    loaded, before = Generator.load(tmp_path), Generator(model)

    assert (loaded.generate(text="red heart", to="image")[0] == before.generate(text="red heart", to="image")[0]).all()
    for picture in corpus.images(16)[:4]:
        assert loaded.generate(image=picture, to="text", language="de") == before.generate(
            image=picture, to="text", language="de"
        )


def test_a_picture_depends_on_its_place_and_seed_but_not_on_how_many_are_drawn(model: AnyTo) -> None:
    few = Generator(model).generate(text="red heart", to="image", n=1, seed=3)
    many = Generator(model).generate(text="red heart", to="image", n=3, seed=3)

    assert abs(few[0].astype(int) - many[0].astype(int)).max() <= 1
    assert (many[0] != many[1]).any()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"text": "x", "to": "sound"}, "unknown pair 'text to sound'"),
        ({"text": "x", "to": "image", "language": "xx"}, "unknown language 'xx'"),
        ({"text": "x", "to": "image", "n": 0}, "n must be at least 1, got 0"),
    ],
)
def test_what_the_model_cannot_do_is_said_in_one_line(model: AnyTo, wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Generator(model).generate(**wrong)  # type: ignore[arg-type]


def test_weights_that_do_not_fit_their_config_are_refused(model: AnyTo, tmp_path: Path) -> None:
    models.save(model, tmp_path)
    facts = json.loads((tmp_path / "config.json").read_text())
    facts["config"]["width"] = 32
    (tmp_path / "config.json").write_text(json.dumps(facts))

    with pytest.raises(StorageError, match="cannot be loaded"):
        models.load(tmp_path)


def test_sizes_that_cannot_work_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"model\.width=130 is not a multiple of model\.heads=4"):
        AnyToConfig(width=130)
