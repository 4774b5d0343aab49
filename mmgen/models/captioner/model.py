"""Show and Tell: a convolutional encoder sees the picture, an LSTM with attention says the caption.

Vinyals et al. 2015 (arXiv:1411.4555) maximise sum_t log p(y_t | picture, y_1 .. y_(t-1)) with an LSTM that is told of
the picture once, at its start. Xu et al. 2015 (arXiv:1502.03044, Show, Attend and Tell) let it look again for every
word: with features a_i at places i and state h, the weights are alpha_i = softmax_i(score(a_i, h)) and the context is
z = sum_i alpha_i a_i (eq. 4 to 6 and 13, soft attention); a word's score is E (e_y + L_h h + L_z z) (their deep
output, eq. 7), here with the word vectors e as E.

Unlike both, nothing is pretrained: the encoder is a few layers that learn with the rest. The first state is linear in
the features of all places rather than in their mean, which has lost where things are. Unlike Xu et al., z does not go
back into the LSTM and score(a, h) = h W a, both as Luong et al. 2015 (arXiv:1508.04025, eq. 8): all words of a caption
are then worked out in one pass.

Shapes here: B pictures, S side, C features, G x G = L places, T words, D width of the LSTM, E of a word, V words known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus
from mmgen.data.order import Order
from mmgen.errors import ConfigError, unknown
from mmgen.examples import Example, spread
from mmgen.modalities.image import Picture, resize, to_tensor
from mmgen.models.anyto.vocabulary import END, PAD, UNKNOWN, Vocabulary
from mmgen.models.base import Loss, Model, seeded
from mmgen.models.captioner.config import ShowTellConfig
from mmgen.models.shared.augmentation import varied
from mmgen.models.shared.caption_likelihood import caption_numbers, log_likelihoods
from mmgen.models.shared.growing_tables import grow

State = tuple[Tensor, Tensor]
"""The LSTM's output and cell, (1, B, D) each."""

CHUNK = 256
"""Most pictures in one pass: bounds memory."""
PREVIEW = 16


@dataclass(frozen=True)
class Batch:
    """Pictures and their captions as word numbers."""

    x_B3SS: Tensor
    words_BT: Tensor


class ShowTellBatches:
    """All pictures and captions, with the order to draw them in; languages take turns within a step."""

    def __init__(self, x_N3SS: Tensor, words_KNT: Tensor, weights_N: Tensor, batch: int, seed: int) -> None:
        self._x_N3SS, self._words_KNT = x_N3SS, words_KNT
        self._order = Order(weights_N, batch, seed, "showtell")

    def at(self, step: int) -> Batch:
        """The batch of a step."""
        rows_B = self._order.at(step)
        turn_B = (torch.arange(len(rows_B)) + step) % len(self._words_KNT)
        return Batch(self._x_N3SS[rows_B], self._words_KNT[turn_B, rows_B])


class Encoder(nn.Module):
    """Features of each 8 x 8 pixels, (B, L, C), seeing their surroundings."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        first = channels // 2
        self.stem = nn.Sequential(nn.Conv2d(3, first, 4, stride=4), nn.GroupNorm(8, first), nn.SiLU())
        self.down = nn.Conv2d(first, channels, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(8, channels),
                nn.SiLU(),
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.GroupNorm(8, channels),
                nn.SiLU(),
                nn.Conv2d(channels, channels, 3, padding=1),
            )
            for _ in range(blocks)
        )
        self.norm = nn.GroupNorm(8, channels)

    def forward(self, x_B3SS: Tensor) -> Tensor:
        """Pictures in [-1, 1] to features."""
        x_BCGG = self.down(self.stem(x_B3SS))
        for block in self.blocks:
            x_BCGG = x_BCGG + block(x_BCGG)
        features_BLC: Tensor = F.silu(self.norm(x_BCGG)).flatten(2).transpose(1, 2)
        return features_BLC


class ShowTell(Model):
    """The captioner.

    Args:
        config: sizes.
        vocabulary: every word that captions may hold.
        languages: languages it learns, the default first.
    """

    Config = ShowTellConfig
    config: ShowTellConfig

    def __init__(self, config: ShowTellConfig, vocabulary: Vocabulary, languages: tuple[str, ...]) -> None:
        super().__init__()
        self.config, self.vocabulary, self.languages = config, vocabulary, languages
        channels, words, width = config.channels, config.word_width, config.width
        self.encoder = Encoder(channels, config.blocks)
        self.squeeze = nn.Linear(channels, config.place_width)
        self.start = nn.Linear((config.image_px // 8) ** 2 * config.place_width, 2 * width)
        self.lstm = nn.LSTM(words, width, batch_first=True)
        self.look = nn.Linear(width, channels, bias=False)
        self.say_state = nn.Linear(width, words)
        self.say_context = nn.Linear(channels, words, bias=False)
        self.word = nn.Embedding(len(vocabulary), words)
        nn.init.normal_(self.word.weight, std=0.05)

    @classmethod
    def fit(cls, config: ShowTellConfig, corpus: Corpus, data: DataConfig, rng: torch.Generator) -> Self:
        """A model with the vocabulary of `corpus` and first weights from `rng`."""
        captions = [caption for language in data.languages for caption in corpus.captions(language)]
        with seeded(rng):
            return cls(config, Vocabulary.fit(captions, data.languages), data.languages)

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """The module that `facts` describes, its weights still to be loaded."""
        return cls(ShowTellConfig(**facts["config"]), Vocabulary(facts["vocabulary"]), tuple(facts["languages"]))

    def facts(self) -> dict[str, Any]:
        """What `from_facts` needs, as JSON values."""
        return {
            "config": asdict(self.config),
            "vocabulary": self.vocabulary.words,
            "languages": list(self.languages),
        }

    def adapt(self, corpus: Corpus, data: DataConfig, rng: torch.Generator) -> None:
        """Words of `corpus` are added to those that it knows; it then speaks the languages of `data`."""
        captions = [caption for language in data.languages for caption in corpus.captions(language)]
        self.vocabulary, self.languages = self.vocabulary.grown(captions, data.languages), data.languages
        grow(self.word, len(self.vocabulary), rng)

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """It describes pictures."""
        return (("image", "text"),)

    def options(self) -> dict[str, str]:
        """What `generate` can be told, and the setting that says it otherwise."""
        return {"language": ""}

    def batches(self, corpus: Corpus, seed: int) -> ShowTellBatches:
        """Batches of `corpus`."""
        length = self.config.max_words
        words_KNT = torch.tensor(
            [
                [self.vocabulary.encode(caption, language, length) for caption in corpus.captions(language)]
                for language in self.languages
            ]
        )
        weights_N = torch.tensor(corpus.variants()) ** -self.config.balance
        x_N3SS = to_tensor(corpus.images(self.config.image_px))
        return ShowTellBatches(x_N3SS, words_KNT, weights_N, self.config.batch, seed)

    def objectives(self, batch: Batch) -> dict[str, Loss]:
        """Cross-entropy in nats a word of the batch, as two halves that add up: one for each core."""
        half = len(batch.words_BT) // 2
        words = (batch.words_BT[:, 1:] != PAD).sum()
        return {
            "first_half": partial(self._loss, batch.x_B3SS[:half], batch.words_BT[:half], words),
            "second_half": partial(self._loss, batch.x_B3SS[half:], batch.words_BT[half:], words),
        }

    def _loss(self, x_B3SS: Tensor, words_BT: Tensor, words: Tensor, rng: torch.Generator) -> Tensor:
        """Summed cross-entropy over `words`, the number of words in the whole batch."""
        words_BT = words_BT[:, : int((words_BT != PAD).sum(1).max())]
        config = self.config
        x_B3SS = varied(x_B3SS, config.shift, config.zoom, config.tint, rng)
        x_B3SS = x_B3SS + config.noise * torch.randn(x_B3SS.shape, generator=rng)
        features_BLC = self.encoder(x_B3SS)
        out_BTE, _, _ = self._say(words_BT[:, :-1], features_BLC, self._begin(features_BLC))
        next_BT = words_BT[:, 1:]
        real_BT = next_BT != PAD  # most captions are short: only their words are held against the vocabulary
        logits_PV = out_BTE[real_BT] @ self.word.weight.T
        return F.cross_entropy(logits_PV, next_BT[real_BT], reduction="sum") / words

    def _begin(self, features_BLC: Tensor) -> State:
        """The first state of the LSTM."""
        h_BD, c_BD = self.start(self.squeeze(features_BLC).flatten(1)).tanh().chunk(2, dim=1)
        return h_BD[None].contiguous(), c_BD[None].contiguous()

    def _say(self, words_BT: Tensor, features_BLC: Tensor, state: State) -> tuple[Tensor, State, Tensor]:
        """What follows each of `words_BT`.

        Returns:
            What is held against the word vectors, (B, T, E); the state after the last word; where it looked, (B, T, L).
        """
        e_BTE = self.word(words_BT)
        h_BTD, state = self.lstm(e_BTE, state)
        alpha_BTL = (self.look(h_BTD) @ features_BLC.transpose(1, 2)).softmax(2)
        out_BTE = e_BTE + self.say_state(h_BTD) + self.say_context(alpha_BTL @ features_BLC)
        return out_BTE, state, alpha_BTL

    def generate(
        self, given: Mapping[str, Sequence[Any]], to: str, n: int, *, seed: int, options: Mapping[str, Any]
    ) -> list[Any]:
        """The caption of each picture, the likeliest word each time. Option: `language`, the first by default.

        Raises:
            ConfigError: a language that the model does not know.
        """
        language = options.get("language", self.languages[0])
        if language not in self.languages:
            raise ConfigError(unknown("language", language, self.languages))
        pictures = given["image"]
        return [
            self.vocabulary.decode(row)
            for start in range(0, n, CHUNK)
            for row in self._tell(pictures[start : start + CHUNK], language)[0].tolist()
        ]

    def word_likelihoods(self, x_B3SS: Tensor, caption: str, language: str) -> Tensor:
        """Log-probability (B, T) in nats of each word of a caption after those before it, given pictures in [-1, 1]."""
        words_T = caption_numbers(self.vocabulary, caption, language, self.config.max_words)
        features_BLC = self.encoder(x_B3SS)
        words_BT = words_T[:-1].expand(len(x_B3SS), -1)
        out_BTE, _, _ = self._say(words_BT, features_BLC, self._begin(features_BLC))
        return log_likelihoods(out_BTE @ self.word.weight.T, words_T[1:])

    def attention(self, pictures: Sequence[Picture]) -> list[tuple[list[str], NDArray[np.float32]]]:
        """Of each picture the words that it says, and where it looked for each: weights (words, G, G) that sum to 1."""
        words_BT, alpha_BTL = self._tell(pictures, self.languages[0])
        grid = self.config.image_px // 8
        found = []
        for numbers, alpha_TL in zip(words_BT.tolist(), alpha_BTL.numpy(), strict=True):
            count = numbers.index(END) if END in numbers else len(numbers)
            words = [self.vocabulary.words[number] for number in numbers[:count]]
            found.append((words, alpha_TL[:count].reshape(count, grid, grid)))
        return found

    def preview(self, corpus: Corpus, seed: int) -> list[Example]:
        """What it says of the same pictures for every run on a data set, spread over it."""
        shown = corpus.take(spread(len(corpus), PREVIEW))
        pictures, captions = shown.images(self.config.image_px), shown.captions(self.languages[0])
        said = self.generate({"image": pictures}, "text", len(pictures), seed=seed, options={})
        return [
            Example(f"{text or 'nothing'}", {"real": picture}, [(text, text == caption)])
            for picture, text, caption in zip(pictures, said, captions, strict=True)
        ]

    @torch.no_grad()
    def _tell(self, pictures: Sequence[Picture], language: str) -> tuple[Tensor, Tensor]:
        """Word numbers (B, T) without the language, and where it looked for each, (B, T, L)."""
        x_B3SS = to_tensor([resize(picture, self.config.image_px) for picture in pictures])
        features_BLC = self.encoder(x_B3SS)
        state = self._begin(features_BLC)
        word_B = torch.full((len(pictures),), self.vocabulary.start(language))
        ended_B = torch.zeros(len(pictures), dtype=torch.bool)
        words: list[Tensor] = []
        looked: list[Tensor] = []
        while len(words) < self.config.max_words - 1 and not ended_B.all():
            out_B1E, state, alpha_B1L = self._say(word_B[:, None], features_BLC, state)
            logits_BV = out_B1E[:, 0] @ self.word.weight.T
            logits_BV[:, [PAD, UNKNOWN]] = -torch.inf
            word_B = torch.where(ended_B, PAD, logits_BV.argmax(-1))
            ended_B = ended_B | (word_B == END)
            words.append(word_B)
            looked.append(alpha_B1L[:, 0])
        return torch.stack(words, 1), torch.stack(looked, 1)
