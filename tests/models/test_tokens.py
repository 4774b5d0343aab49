"""The token model: its codec, its mask, its two directions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus, load_corpus
from mmgen.data.order import generator
from mmgen.errors import ConfigError
from mmgen.generate import Generator
from mmgen.modalities.image import to_tensor
from mmgen.models.anyto.vocabulary import PAD
from mmgen.models.tokens.codebooks import PrincipalCodebooks, kmeans
from mmgen.models.tokens.config import TokensConfig
from mmgen.models.tokens.model import Tokens
from mmgen.models.tokens.transformer import Transformer, source_then_target
from mmgen.progress import Progress
from mmgen.training.config import TrainingConfig
from mmgen.training.loop import learn

SMALL = TokensConfig(
    image_px=24, components=64, codes=8, codebook=32, positions=4, width=64, depth=2, head_width=128,
    memory_rows=61, memory_width=32, image_batch=16,
    text_batch=16,
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tiny_emoji: Path) -> Corpus:
    return load_corpus(tiny_emoji, "train")


@pytest.fixture(scope="module")
def model(corpus: Corpus) -> Tokens:
    made = Tokens.fit(SMALL, corpus, DataConfig(languages=("en", "de")), generator(0, "fit"))
    for parameter in made.parameters():  # zero-initialised parts would hide mistakes
        torch.nn.init.normal_(parameter, std=0.2, generator=generator(0, parameter.shape))
    return made


@pytest.fixture(scope="module")
def knows(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokens, Corpus]:
    """A model that has learned a few captions and pictures by heart."""
    few = corpus.take(range(12))
    made = Tokens.fit(SMALL, few, DataConfig(), generator(0, "fit"))
    config = TrainingConfig(steps=200, lr=3e-3, threads=1, warmup=10, ema=0.9, sample_every=200)
    learn(made, made.batches(few, 0), config, 0, tmp_path_factory.mktemp("knows"), Progress(), lambda step: None)
    return made, few


def test_more_codes_keep_more_of_a_picture_and_codes_are_used_widely(emoji: Path) -> None:
    train = load_corpus(emoji, "train")
    some = to_tensor(train.take(range(0, len(train), 10)).images(24))
    errors = []
    for groups in (4, 16):
        codec = PrincipalCodebooks(24, 64, groups, 32)
        codec.fit(some, torch.ones(len(some)), generator(1))
        codes = codec.encode(some)
        errors.append(float((codec.decode(codes) - some).square().mean()))
        assert all(len(code.unique()) > 16 for code in codes.T)

    assert errors[1] < 0.7 * errors[0]
    assert errors[1] < 0.3 * float((some - some.mean(0)).square().mean())


def test_a_picture_of_codes_has_these_codes(model: Tokens, corpus: Corpus) -> None:
    codes = model.codebooks.encode(to_tensor(corpus.images(24)))

    parts = [book[code, : e - s] for book, code, (s, e) in zip(
        model.codebooks.book_GKM, codes.T, model.codebooks.bounds, strict=True)]  # fmt: skip
    again = [
        (book[:, : e - s] - part[:, None]).square().sum(2).argmin(1)
        for book, part, (s, e) in zip(model.codebooks.book_GKM, parts, model.codebooks.bounds, strict=True)
    ]

    points = [book[code] for book, code in zip(model.codebooks.book_GKM, codes.T, strict=True)]
    same = [book[code] for book, code in zip(model.codebooks.book_GKM, again, strict=True)]
    torch.testing.assert_close(same, points)  # centres may coincide where there are few pictures


def test_kmeans_finds_clusters_that_lie_apart_and_copes_with_few_points() -> None:
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = centres.repeat(40, 1) + 0.1 * torch.randn(120, 2, generator=generator(2))

    found = kmeans(points, torch.ones(120), 12, generator(3))

    assert float(torch.cdist(centres, found).min(1).values.max()) < 0.2
    assert kmeans(points[:2], torch.ones(2), 5, generator(4)).shape == (5, 2)


def test_tokens_read_one_by_one_give_the_features_of_all_at_once() -> None:
    trunk = Transformer(16, 2, 2)
    for parameter in trunk.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator(0, parameter.shape))
    x = torch.randn(2, 6, 16, generator=generator(5))
    real = torch.tensor([[True, True, True], [True, True, False]])

    together, _ = trunk(x, source_then_target(real, 3))
    _, kept = trunk(x[:, :3], real[:, None, None])
    for place in range(3, 6):
        real = torch.nn.functional.pad(real, (0, 1), value=True)
        alone, kept = trunk(x[:, place : place + 1], real[:, None, None], kept)

        torch.testing.assert_close(alone[:, 0], together[:, place], atol=1e-5, rtol=1e-4)


def test_drawing_takes_at_each_step_what_training_would_score_highest(model: Tokens, corpus: Corpus) -> None:
    """Decoding with kept keys and the loss on whole sequences are two ways to the same scores."""
    prompts = [caption for caption in corpus.captions("en") if len(caption.split()) < 5][:4]
    pictures = model.generate({"text": prompts}, "image", 4, seed=0, options={"temperature": 0})
    rows = torch.tensor([model.vocabulary.encode(text, "en", 20) for text in prompts])
    codes = drawn_codes(model, prompts)

    read = model._read(codes)
    target = model.position.weight + torch.nn.functional.pad(read.sum(2), (0, 0, 1, 0))[:, :-1]
    features, _ = model.trunk(torch.cat([model._words(rows), target], 1), source_then_target(rows != PAD, 4))
    known = model.recall(model.memory(rows))
    state = features[:, rows.shape[1] :, None] + read.cumsum(2) - read + known[:, None, None]
    scores = model._scores(state.flatten(1, 2).transpose(0, 1), slice(None))

    chosen = scores.gather(2, codes.T[..., None])[..., 0]
    assert len(pictures) == 4
    torch.testing.assert_close(chosen, scores.max(2).values, atol=1e-3, rtol=1e-3)


def drawn_codes(model: Tokens, prompts: list[str]) -> torch.Tensor:
    """Codes that `generate` decodes, caught on their way."""
    caught: list[torch.Tensor] = []
    decode = model.codebooks.decode
    model.codebooks.decode = lambda codes: caught.append(codes) or decode(codes)  # type: ignore[assignment,func-returns-value]
    try:
        model.generate({"text": prompts}, "image", len(prompts), seed=0, options={"temperature": 0})
    finally:
        del model.codebooks.decode
    return caught[0]


def test_a_few_captions_and_pictures_are_learned_by_heart_in_both_directions(knows: tuple[Tokens, Corpus]) -> None:
    model, few = knows
    captions, real = few.captions("en"), few.images(24)

    said = model.generate({"image": real}, "text", 12, seed=0, options={})
    drawn = model.generate({"text": captions}, "image", 12, seed=0, options={})

    assert sum(text == caption for text, caption in zip(said, captions, strict=True)) >= 10
    kept = model.reconstruct(real)
    same = [abs(a.astype(int) - b.astype(int)).mean() < 3 for a, b in zip(drawn, kept, strict=True)]
    assert sum(same) >= 9


def test_a_picture_depends_on_its_place_and_seed_but_not_on_how_many_are_drawn(model: Tokens) -> None:
    few = Generator(model).generate(text="red heart", to="image", n=1, seed=3, temperature=1.0)
    many = Generator(model).generate(text="red heart", to="image", n=3, seed=3, temperature=1.0)

    assert abs(few[0].astype(int) - many[0].astype(int)).max() <= 1
    assert (many[0] != many[1]).any()


def test_a_saved_model_draws_and_describes_as_before(model: Tokens, corpus: Corpus) -> None:
    again = Tokens.from_facts(model.facts())
    again.load_state_dict(model.state_dict())
    picture = corpus.images(48)[2]

    first, second = Generator(model), Generator(again)

    assert (first.generate(text="red heart", to="image")[0] == second.generate(text="red heart", to="image")[0]).all()
    assert first.generate(image=picture, to="text", language="de") == second.generate(
        image=picture, to="text", language="de"
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"language": "xx"}, "unknown language 'xx'"), ({"temperature": -1}, "temperature must be at least 0, got -1")],
)
def test_options_that_cannot_work_are_refused(model: Tokens, wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Generator(model).generate(text="red heart", to="image", **wrong)  # type: ignore[arg-type]


def test_sizes_that_cannot_work_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"model\.codes=30 is not a multiple of model\.positions=8"):
        TokensConfig(codes=30)
    with pytest.raises(ConfigError, match=r"model\.components=100 is less than 4 for each of model\.codes=64 codes"):
        TokensConfig(components=100)
