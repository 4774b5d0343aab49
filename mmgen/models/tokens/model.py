"""A Transformer over discrete tokens, in both directions: captions to pictures, and pictures to captions.

As in DALL-E (Ramesh et al. 2021, arXiv:2102.12092) text and picture are one stream of tokens that a decoder-only
transformer predicts one after the other, p(y, x) = prod_t p(token_t | tokens before). Unlike there the codes come from
codebooks that need no training (`codebooks.py`), run from coarse to fine rather than from top to bottom, and the
source is seen whole: only the target is predicted.

A picture has many codes, and a transformer pays for each. As in the RQ-Transformer (Lee et al. 2022, arXiv:2203.01941)
a token stands for several: the trunk runs once a position, and a small net predicts the codes of the position one after
the other, here a perceptron that is told the sum of those before and, as in the flagship, what a memory of phrases says
(`mmgen.models.anyto.memory`): a rare word is then learned in a few visits.

The score of code value k is b (2 u c_k - |c_k|^2) + q e_k: how near its point c_k lies to a point u that is predicted,
times a predicted sharpness b, plus what was learned of it apart from that. So values that mean nearly the same get
nearly the same score before they were ever seen.

Shapes here: B batch, T words, D width, V words known; P positions of a picture with J codes each, G = P J codes in all,
K values of a code, M components behind it, E of a key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus
from mmgen.data.order import generator
from mmgen.errors import ConfigError, unknown
from mmgen.examples import Example
from mmgen.modalities.image import Picture, from_tensor, resize, to_tensor
from mmgen.models.anyto.memory import PhraseMemory
from mmgen.models.anyto.vocabulary import END, PAD, UNKNOWN, Vocabulary
from mmgen.models.base import Loss, Model, seeded
from mmgen.models.shared.caption_likelihood import caption_numbers, log_likelihoods
from mmgen.models.shared.growing_tables import grow
from mmgen.models.shared.previews import drawn, told
from mmgen.models.tokens.batches import Batch, TokensBatches, without_padding
from mmgen.models.tokens.codebooks import PrincipalCodebooks
from mmgen.models.tokens.config import TokensConfig
from mmgen.models.tokens.transformer import Transformer, source_then_target

CHUNK = 256
"""Most captions or pictures in one pass: bounds memory."""


class Tokens(Model):
    """The model.

    Args:
        config: sizes.
        vocabulary: every word that captions may hold.
        languages: languages it learns, the default first.
    """

    Config = TokensConfig
    config: TokensConfig

    def __init__(self, config: TokensConfig, vocabulary: Vocabulary, languages: tuple[str, ...]) -> None:
        super().__init__()
        self.config, self.vocabulary, self.languages = config, vocabulary, languages
        width, groups = config.width, config.codes
        self.codebooks = PrincipalCodebooks(config.image_px, config.components, groups, config.codebook)
        parts = self.codebooks.book_GKM.shape[2]
        self.word = nn.Embedding(len(vocabulary), width)
        self.word_position = nn.Embedding(config.max_words, width)
        self.position = nn.Embedding(config.positions, width)
        self.source_position = nn.Embedding(config.positions, width)
        self.read_code = nn.Parameter(torch.randn(groups, parts, width) * 0.3 * parts**-0.5)
        self.trunk = Transformer(width, config.depth, config.heads)
        self.memory = PhraseMemory(len(vocabulary), config.memory_rows, config.memory_width)
        self.recall = nn.Linear(config.memory_width, width, bias=False)
        self.place = nn.Parameter(torch.randn(groups, width) * 0.02)
        self.head_norm = nn.RMSNorm(width)
        self.head_in = nn.Linear(width, config.head_width)
        self.head_out = nn.Linear(config.head_width, width)
        self.out_norm = nn.RMSNorm(width)
        self.point = nn.Parameter(torch.randn(groups, width, parts) * 0.3 * width**-0.5)
        self.sharpness = nn.Linear(width, 1)
        self.query = nn.Linear(width, config.key_width)
        self.key = nn.Parameter(torch.zeros(groups, config.codebook, config.key_width))
        nn.init.constant_(self.sharpness.bias, -2.0)  # a first guess that is sharp and wrong costs many steps
        for embedding in (self.word, self.word_position, self.position, self.source_position):
            nn.init.normal_(embedding.weight, std=0.05)

    @classmethod
    def fit(cls, config: TokensConfig, corpus: Corpus, data: DataConfig, rng: torch.Generator) -> Self:
        """A model with vocabulary and codebooks of `corpus` and first weights drawn from `rng`."""
        captions = [caption for language in data.languages for caption in corpus.captions(language)]
        with seeded(rng):
            model = cls(config, Vocabulary.fit(captions, data.languages), data.languages)
        pictures = to_tensor(corpus.images(config.image_px))
        model.codebooks.fit(pictures, torch.tensor(corpus.variants()) ** -0.5, rng)
        return model

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """The module that `facts` describes, its weights still to be loaded."""
        return cls(TokensConfig(**facts["config"]), Vocabulary(facts["vocabulary"]), tuple(facts["languages"]))

    def facts(self) -> dict[str, Any]:
        """What `from_facts` needs, as JSON values."""
        return {
            "config": asdict(self.config),
            "vocabulary": self.vocabulary.words,
            "languages": list(self.languages),
        }

    def adapt(self, corpus: Corpus, data: DataConfig, rng: torch.Generator) -> None:
        """Words of `corpus` are added to those that it knows; the codebooks stay, since codes are what it has learned:
        pictures of another kind lose detail."""
        captions = [caption for language in data.languages for caption in corpus.captions(language)]
        self.vocabulary, self.languages = self.vocabulary.grown(captions, data.languages), data.languages
        for table in (self.word, self.memory.word):
            grow(table, len(self.vocabulary), rng)

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Captions to pictures and back; what was left out of training is not offered."""
        learned = {("text", "image"): self.config.image_batch, ("image", "text"): self.config.text_batch}
        return tuple(pair for pair, batch in learned.items() if batch)

    def options(self) -> dict[str, str]:
        """What `generate` can be told, and the setting that says it otherwise."""
        return {"language": "", "temperature": "temperature"}

    def batches(self, corpus: Corpus, seed: int) -> TokensBatches:
        """Batches of `corpus`, which is encoded here, once."""
        length = self.config.max_words
        words_LNT = torch.tensor(
            [
                [self.vocabulary.encode(caption, language, length) for caption in corpus.captions(language)]
                for language in self.languages
            ]
        )
        return TokensBatches(
            codes_NG=self.codebooks.encode(to_tensor(corpus.images(self.config.image_px))),
            words_LNT=words_LNT,
            weights_N=torch.tensor(corpus.variants()) ** -self.config.balance,
            image_batch=self.config.image_batch,
            text_batch=self.config.text_batch,
            seed=seed,
        )

    def objectives(self, batch: Batch) -> dict[str, Loss]:
        """`image`: cross-entropy in nats a code; `text`: in nats a word, times `text_weight`."""
        losses: dict[str, Loss] = {"image": partial(self._image_loss, batch), "text": partial(self._text_loss, batch)}
        sizes = {"image": self.config.image_batch, "text": self.config.text_batch}
        return {name: loss for name, loss in losses.items() if sizes[name]}

    def _image_loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Of the codes given the caption and the codes before."""
        prompt_BT, codes_BG = batch.prompt_NT, batch.drawn_NG
        read_BPJD = self._read(codes_BG)
        target_BPD = self.position.weight + F.pad(read_BPJD.sum(2), (0, 0, 1, 0))[:, :-1]
        x_BSD = torch.cat([self._words(prompt_BT), target_BPD], 1)
        features_BSD, _ = self.trunk(x_BSD, source_then_target(prompt_BT != PAD, self.config.positions))
        before_BPJD = read_BPJD.cumsum(2) - read_BPJD
        known_BD = self.recall(self.memory(prompt_BT))
        state_BPJD = features_BSD[:, prompt_BT.shape[1] :, None] + before_BPJD + known_BD[:, None, None]
        logits_GBK = self._scores(state_BPJD.flatten(1, 2).transpose(0, 1), slice(None))
        return F.cross_entropy(logits_GBK.flatten(0, 1), codes_BG.T.flatten())

    def _text_loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Of the words given the picture and the words before."""
        read_BPD = self._read(batch.read_MG, self.config.read_noise, rng).sum(2)
        features_BTD, next_BT = self._after(read_BPD, batch.caption_MT[:, :-1]), batch.caption_MT[:, 1:]
        real_BT = next_BT != PAD
        logits_NV = features_BTD[real_BT] @ self.word.weight.T
        return self.config.text_weight * F.cross_entropy(logits_NV, next_BT[real_BT])

    def _words(self, words_BT: Tensor, first: int = 0) -> Tensor:
        """Tokens (B, T, D) of words that stand at place `first` and after."""
        x_BTD: Tensor = self.word(words_BT) + self.word_position.weight[first : first + words_BT.shape[1]]
        return x_BTD

    def _read(self, codes_BG: Tensor, noise: float = 0.0, rng: torch.Generator | None = None) -> Tensor:
        """What each code says, (B, P, J, D): linear in its point, to which noise of that size is added."""
        points_GKM = self.codebooks.points()
        own_GBM = torch.stack([points_KM[code_B] for points_KM, code_B in zip(points_GKM, codes_BG.T, strict=True)])
        if noise:
            own_GBM = own_GBM + noise * torch.randn(own_GBM.shape, generator=rng)
        read_BGD = (own_GBM @ self.read_code).transpose(0, 1)
        return read_BGD.reshape(len(codes_BG), self.config.positions, -1, self.config.width)

    def _scores(self, state_GBD: Tensor, groups: slice) -> Tensor:
        """Logits (G, B, K) of the codes of some groups, from the trunk's feature plus the codes before."""
        state_GBD = state_GBD + self.place[groups, None]
        state_GBD = state_GBD + self.head_out(F.relu(self.head_in(self.head_norm(state_GBD))).square())
        state_GBD = self.out_norm(state_GBD)
        points_GKM = self.codebooks.points()[groups]
        near_GBK = 2 * (state_GBD @ self.point[groups]) @ points_GKM.transpose(1, 2)
        near_GBK = near_GBK - points_GKM.square().sum(2)[:, None]
        near_GBK = F.softplus(self.sharpness(state_GBD)) * near_GBK
        logits_GBK: Tensor = near_GBK + self.query(state_GBD) @ self.key[groups].transpose(1, 2)
        return logits_GBK

    def word_likelihoods(self, x_B3SS: Tensor, caption: str, language: str) -> Tensor:
        """Log-probability (B, T) in nats of each word of a caption after those before it, given pictures in [-1, 1]."""
        words_T = caption_numbers(self.vocabulary, caption, language, self.config.max_words)
        read_BPD = self._read(self.codebooks.encode(x_B3SS)).sum(2)
        features_BTD = self._after(read_BPD, words_T[:-1].expand(len(x_B3SS), -1))
        return log_likelihoods(features_BTD @ self.word.weight.T, words_T[1:])

    def _after(self, read_BPD: Tensor, words_BT: Tensor) -> Tensor:
        """Features (B, T, D) that foretell the word after each of `words_BT`, given what was read of pictures."""
        x_BSD = torch.cat([read_BPD + self.source_position.weight, self._words(words_BT)], 1)
        real_BP = torch.ones(read_BPD.shape[:2], dtype=torch.bool)
        features_BSD: Tensor = self.trunk(x_BSD, source_then_target(real_BP, words_BT.shape[1]))[0]
        return features_BSD[:, self.config.positions :]

    def generate(
        self, given: Mapping[str, Sequence[Any]], to: str, n: int, *, seed: int, options: Mapping[str, Any]
    ) -> list[Any]:
        """Pictures of captions, or the likeliest caption of each picture.

        Options: `language` of the captions, the first by default; for pictures `temperature`.

        Raises:
            ConfigError: a language that the model does not know, or a temperature below 0.
        """
        language = options.get("language", self.languages[0])
        if language not in self.languages:
            raise ConfigError(unknown("language", language, self.languages))
        temperature = float(options.get("temperature", self.config.temperature))
        if temperature < 0:
            raise ConfigError(f"temperature must be at least 0, got {temperature:g}")
        made: list[Any] = []
        for start in range(0, n, CHUNK):
            if to == "image":
                made += self._draw(given["text"][start : start + CHUNK], language, seed, start, temperature)
            else:
                made += self._tell(given["image"][start : start + CHUNK], self.vocabulary.start(language))
        return made

    def preview(self, corpus: Corpus, seed: int) -> list[Example]:
        """Pictures that it draws of captions; captions of pictures, where it cannot draw."""
        if self.config.image_batch:
            return drawn(self, corpus, self.languages[0], seed)
        return told(self, corpus, self.config.image_px, seed)

    @torch.no_grad()
    def reconstruct(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Pictures after encoding to codes and decoding."""
        return from_tensor(self.codebooks.decode(self.codebooks.encode(self._tensor(pictures))))

    def unknown_words(self, caption: str) -> dict[str, str]:
        """Words that training never saw, each with the nearest known one; such words say nothing to the model."""
        return self.vocabulary.unknown(caption)

    def _tensor(self, pictures: Sequence[Picture]) -> Tensor:
        return to_tensor([resize(picture, self.config.image_px) for picture in pictures])

    @torch.no_grad()
    def _draw(self, captions: Sequence[str], language: str, seed: int, first: int, temperature: float) -> list[Picture]:
        """A picture of each caption; what is drawn depends on its place, counted from `first`, and the seed alone."""
        rows = [self.vocabulary.encode(caption, language, self.config.max_words) for caption in captions]
        prompt_BT = without_padding(torch.tensor(rows))
        shape = (self.config.codes, self.config.codebook)
        luck_BGK = torch.stack(
            [torch.rand(shape, generator=generator(seed, "codes", first + place)) for place in range(len(rows))]
        )
        # The largest of logits plus such noise is a draw from their softmax (Gumbel 1954).
        luck_GBK = -(-luck_BGK.clamp_min(1e-20).log()).log().transpose(0, 1) * temperature
        real_BS = prompt_BT != PAD
        _, kept = self.trunk(self._words(prompt_BT), real_BS[:, None, None])
        known_BD = self.recall(self.memory(prompt_BT))
        points_GKM = self.codebooks.points()
        each = self.config.codes // self.config.positions
        said_BD, codes = torch.zeros(len(rows), self.config.width), []
        for position in range(self.config.positions):
            x_B1D = (self.position.weight[position] + said_BD)[:, None]
            real_BS = F.pad(real_BS, (0, 1), value=True)
            feature_B1D, kept = self.trunk(x_B1D, real_BS[:, None, None], kept)
            feature_BD, said_BD = feature_B1D[:, 0] + known_BD, torch.zeros_like(said_BD)
            for group in range(position * each, (position + 1) * each):
                logits_1BK = self._scores((feature_BD + said_BD)[None], slice(group, group + 1))
                codes.append((logits_1BK[0] + luck_GBK[group]).argmax(1))
                said_BD = said_BD + points_GKM[group, codes[-1]] @ self.read_code[group]
        return from_tensor(self.codebooks.decode(torch.stack(codes, 1)))

    @torch.no_grad()
    def _tell(self, pictures: Sequence[Picture], start: int) -> list[str]:
        """A caption of each picture, the likeliest word each time; `start` is the language."""
        source_BPD = self._read(self.codebooks.encode(self._tensor(pictures))).sum(2) + self.source_position.weight
        everything = torch.ones(1, 1, 1, 1, dtype=torch.bool)
        _, kept = self.trunk(source_BPD, everything)
        word_B = torch.full((len(pictures),), start)
        ended_B = torch.zeros(len(pictures), dtype=torch.bool)
        words: list[Tensor] = []
        while len(words) < self.config.max_words - 1 and not ended_B.all():
            feature_B1D, kept = self.trunk(self._words(word_B[:, None], len(words)), everything, kept)
            logits_BV = feature_B1D[:, 0] @ self.word.weight.T
            logits_BV[:, [PAD, UNKNOWN]] = -torch.inf
            word_B = torch.where(ended_B, PAD, logits_BV.argmax(1))
            ended_B = ended_B | (word_B == END)
            words.append(word_B)
        return [self.vocabulary.decode(row) for row in torch.stack(words, 1).tolist()]
