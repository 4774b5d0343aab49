"""AnyTo: one decoder transformer that draws captions and describes pictures.

A sequence is a source block and a target block. Text is predicted word by word (cross-entropy); a picture is drawn by
rectified flow on its codec's coefficients, conditioned on one query token (`flow.py`). The layout follows Transfusion
(Zhou et al. 2024, arXiv:2408.11039); unlike it, noisy pictures never enter the transformer, which at this size
learns ten times more per second (docs/log.md).

Shapes here: B batch, T tokens, D width, C coefficients of a picture, V words.
"""

from __future__ import annotations

import copy
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
from mmgen.models.anyto.batches import AnyToBatches, Batch
from mmgen.models.anyto.codec import PrincipalCodec
from mmgen.models.anyto.config import AnyToConfig
from mmgen.models.anyto.flow import FlowHead, noisy, sample
from mmgen.models.anyto.memory import PhraseMemory
from mmgen.models.anyto.transformer import Transformer, prefix_causal
from mmgen.models.anyto.vocabulary import END, PAD, UNKNOWN, Vocabulary
from mmgen.models.base import WHOLE, Loss, Model, Share, seeded
from mmgen.models.shared.caption_likelihood import caption_numbers, log_likelihoods
from mmgen.models.shared.growing_tables import grow
from mmgen.models.shared.interpolation import line
from mmgen.models.shared.previews import drawn, told

CHUNK = 256
"""Most captions or pictures in one pass: bounds memory."""


class AnyTo(Model):
    """The model.

    Args:
        config: sizes.
        vocabulary: every word that captions may hold.
        languages: languages it learns, the default first.
    """

    Config = AnyToConfig
    config: AnyToConfig
    exact_shares = True

    def __init__(self, config: AnyToConfig, vocabulary: Vocabulary, languages: tuple[str, ...]) -> None:
        super().__init__()
        self.config, self.vocabulary, self.languages = config, vocabulary, languages
        width = config.width
        self.codec = PrincipalCodec(config.image_px, config.components)
        self.word = nn.Embedding(len(vocabulary), width)
        self.position = nn.Embedding(config.max_words + 1, width)
        self.query = nn.Parameter(torch.randn(width) * 0.02)
        self.memory = PhraseMemory(len(vocabulary), config.memory_rows, config.memory_width)
        condition = width + config.memory_width
        self.empty = nn.Parameter(torch.randn(condition) * 0.02)
        self.image_in = nn.Linear(config.components // config.image_tokens, width)
        self.image_position = nn.Embedding(config.image_tokens, width)
        self.trunk = Transformer(width, config.depth, config.heads)
        self.head = FlowHead(config.components, condition, config.head_width, config.head_blocks)
        nn.init.normal_(self.word.weight, std=0.05)
        for embedding in (self.position, self.image_position):
            nn.init.normal_(embedding.weight, std=0.02)

    @classmethod
    def fit(cls, config: AnyToConfig, corpus: Corpus, data: DataConfig, rng: torch.Generator) -> Self:
        """A model with vocabulary and codec of `corpus` and first weights drawn from `rng`."""
        captions = [caption for language in data.languages for caption in corpus.captions(language)]
        with seeded(rng):
            model = cls(config, Vocabulary.fit(captions, data.languages), data.languages)
        pictures = to_tensor(corpus.images(config.image_px))
        model.codec.fit(pictures, torch.tensor(corpus.variants()) ** -0.5, rng)
        return model

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """The module that `facts` describes, its weights still to be loaded."""
        config = AnyToConfig(**facts["config"])
        return cls(config, Vocabulary(facts["vocabulary"]), tuple(facts["languages"]))

    def facts(self) -> dict[str, Any]:
        """What `from_facts` needs, as JSON values."""
        return {
            "config": asdict(self.config),
            "vocabulary": self.vocabulary.words,
            "languages": list(self.languages),
        }

    def options(self) -> dict[str, str]:
        """What `generate` can be told, and the setting that says it otherwise."""
        return {"language": "", "steps": "ode_steps", "guidance": "guidance"}

    def batches(self, corpus: Corpus, seed: int) -> AnyToBatches:
        """Batches of `corpus`, which is encoded here, once."""
        length = self.config.max_words
        words_LNT = torch.tensor(
            [
                [self.vocabulary.encode(caption, language, length) for caption in corpus.captions(language)]
                for language in self.languages
            ]
        )
        return AnyToBatches(
            z_NC=self.codec.encode(to_tensor(corpus.images(self.config.image_px))),
            words_LNT=words_LNT,
            weights_N=torch.tensor(corpus.variants()) ** -self.config.balance,
            image_batch=self.config.image_batch,
            text_batch=self.config.text_batch,
            seed=seed,
        )

    @torch.no_grad()
    def adapt(self, corpus: Corpus, data: DataConfig, rng: torch.Generator) -> None:
        """Words of `corpus` are added to those that it knows, and the codec is fitted to its pictures.

        The layers of the head that touch coefficients are turned along, so that it draws what it drew before, as far
        as the new components can show it; the layer that reads pictures has to learn anew what they mean.
        """
        captions = [caption for language in data.languages for caption in corpus.captions(language)]
        self.vocabulary, self.languages = self.vocabulary.grown(captions, data.languages), data.languages
        for table in (self.word, self.memory.word):
            grow(table, len(self.vocabulary), rng)
        before = copy.deepcopy(self.codec)
        pictures = to_tensor(corpus.images(self.config.image_px))
        self.codec.fit(pictures, torch.tensor(corpus.variants()) ** -0.5, rng)
        self.head.turn(*self.codec.map_to(before), *before.map_to(self.codec))

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Captions to pictures and back; what was left out of training is not offered."""
        learned = {("text", "image"): self.config.image_batch, ("image", "text"): self.config.text_batch}
        return tuple(pair for pair, batch in learned.items() if batch)

    def objectives(self, batch: Batch, share: Share = WHOLE) -> dict[str, Loss]:
        """Named losses of one batch, each a function of its own generator; their sum is minimised.

        `image`: mean squared error of the clean coefficients (their mean variance is 1).
        `text`: cross-entropy in nats a word, times `text_weight`.

        What is random is drawn for the whole batch, and means are over the whole batch, whatever the share: losses of
        all shares add up to that of one process.
        """
        losses: dict[str, Loss] = {
            "image": partial(self._image_loss, batch, share),
            "text": partial(self._text_loss, batch, share),
        }
        sizes = {"image": self.config.image_batch, "text": self.config.text_batch}
        return {name: loss for name, loss in losses.items() if sizes[name]}

    def _image_loss(self, batch: Batch, share: Share, rng: torch.Generator) -> Tensor:
        draws, rows = self.config.draws, len(batch.drawn_NC)
        condition_ND = self.read_text(share.rows(batch.prompt_NT))
        hidden_N1 = share.rows(torch.rand(rows, 1, generator=rng)) < self.config.condition_drop
        condition_ND = torch.where(hidden_N1, self.empty, condition_ND).repeat(draws, 1)
        x_NC = batch.drawn_NC.repeat(draws, 1)
        x_NC, z_NC, t_N = (share.rows(each, draws) for each in (x_NC, *noisy(x_NC, self.config.time_mean, rng)))
        return F.mse_loss(self.head(z_NC, t_N, condition_ND), x_NC) * (len(x_NC) / (draws * rows))

    def _text_loss(self, batch: Batch, share: Share, rng: torch.Generator) -> Tensor:
        noise_MC = torch.randn(batch.read_MC.shape, generator=rng)
        z_MC = share.rows(batch.read_MC + self.config.image_noise * batch.read_MC.std() * noise_MC)
        length = int((batch.caption_MT != PAD).sum(1).max())
        asked_MT = batch.caption_MT[:, 1:length]
        caption_MT = share.rows(batch.caption_MT[:, :length])
        logits_MTV = self._describe(z_MC, caption_MT[:, :-1])
        loss = F.cross_entropy(logits_MTV.flatten(0, 1), caption_MT[:, 1:].flatten(), ignore_index=PAD)
        words = (share.rows(asked_MT) != PAD).sum() / (asked_MT != PAD).sum()
        return self.config.text_weight * loss * words

    def read_text(self, words_BT: Tensor) -> Tensor:
        """Conditions (B, D + M) of captions: the feature of a query that saw the whole caption, and the memory's."""
        x_BTD = self.word(words_BT) + self.position.weight[: words_BT.shape[1]]
        x_BTD = torch.cat([x_BTD, self.query.expand(len(words_BT), 1, -1)], 1)
        real_BT = F.pad(words_BT != PAD, (0, 1), value=True)
        # Captions differ much in length: packed end to end they cost half of what padded rows would.
        owner_P = real_BT.nonzero()[:, 0]
        features_PD = self.trunk(x_BTD[real_BT][None], (owner_P[:, None] == owner_P)[None, None])[0]
        return torch.cat([features_PD[real_BT.sum(1).cumsum(0) - 1], self.memory(words_BT)], 1)

    def _describe(self, z_BC: Tensor, words_BT: Tensor) -> Tensor:
        """Logits (B, T, V) of the word after each of `words_BT`, given pictures."""
        tokens = self.config.image_tokens
        image_BTD = self.image_in(z_BC.view(len(z_BC), tokens, -1)) + self.image_position.weight
        text_BTD = self.word(words_BT) + self.position.weight[: words_BT.shape[1]]
        x_BTD = torch.cat([image_BTD, text_BTD], 1)
        features_BTD = self.trunk(x_BTD, prefix_causal(tokens, x_BTD.shape[1]))
        logits_BTV: Tensor = features_BTD[:, tokens:] @ self.word.weight.T
        return logits_BTV

    def word_likelihoods(self, x_B3SS: Tensor, caption: str, language: str) -> Tensor:
        """Log-probability (B, T) in nats of each word of a caption after those before it, given pictures in [-1, 1]."""
        words_T = caption_numbers(self.vocabulary, caption, language, self.config.max_words)
        logits_BTV = self._describe(self.codec.encode(x_B3SS), words_T[:-1].expand(len(x_B3SS), -1))
        return log_likelihoods(logits_BTV, words_T[1:])

    @torch.no_grad()
    def between(self, given: Mapping[str, Sequence[Any]], steps: int, *, seed: int) -> list[Picture]:
        """Pictures of conditions on the line between those of two captions, all from the same noise."""
        rows = [self.vocabulary.encode(text, self.languages[0], self.config.max_words) for text in given["text"]]
        condition_SD = line(self.read_text(torch.tensor(rows)), steps)
        noise_SC = torch.randn(self.config.components, generator=generator(seed, "noise", 0)).expand(steps, -1)
        z_SC = sample(self.head, condition_SD, self.empty, noise_SC, self.config.ode_steps, self.config.guidance)
        return from_tensor(self.codec.decode(z_SC))

    def generate(
        self, given: Mapping[str, Sequence[Any]], to: str, n: int, *, seed: int, options: Mapping[str, Any]
    ) -> list[Any]:
        """Pictures of captions, or the likeliest caption of each picture.

        Options: `language` of the captions, the first by default; for pictures `steps` (Euler steps of the sampler)
        and `guidance` (strength of the caption).

        Raises:
            ConfigError: a language that the model does not know.
        """
        language = options.get("language", self.languages[0])
        if language not in self.languages:
            raise ConfigError(unknown("language", language, self.languages))
        chunks = range(0, n, CHUNK)
        if to == "image":
            steps, guidance = (
                options.get(name, default)
                for name, default in (("steps", self.config.ode_steps), ("guidance", self.config.guidance))
            )
            return [
                picture
                for start in chunks
                for picture in self._draw(given["text"][start : start + CHUNK], language, seed, start, steps, guidance)
            ]
        return [
            caption
            for start in chunks
            for caption in self._tell(given["image"][start : start + CHUNK], self.vocabulary.start(language))
        ]

    @torch.no_grad()
    def _draw(
        self, captions: Sequence[str], language: str, seed: int, first: int, steps: int, guidance: float
    ) -> list[Picture]:
        """A picture of each caption; its noise depends on its place, counted from `first`, and the seed alone."""
        rows = [self.vocabulary.encode(caption, language, self.config.max_words) for caption in captions]
        noise = [
            torch.randn(self.config.components, generator=generator(seed, "noise", first + place))
            for place in range(len(rows))
        ]
        condition_BD = self.read_text(torch.tensor(rows))
        z_BC = sample(self.head, condition_BD, self.empty, torch.stack(noise), steps, guidance)
        return from_tensor(self.codec.decode(z_BC))

    def preview(self, corpus: Corpus, seed: int) -> list[Example]:
        """Pictures that it draws of captions; captions of pictures, where it cannot draw."""
        if self.config.image_batch:
            return drawn(self, corpus, self.languages[0], seed)
        return told(self, corpus, self.config.image_px, seed)

    @torch.no_grad()
    def reconstruct(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Pictures after the codec's encoding and decoding."""
        return from_tensor(self.codec.decode(self.codec.encode(self._tensor(pictures))))

    def unknown_words(self, caption: str) -> dict[str, str]:
        """Words that training never saw, each with the nearest known one; such words say nothing to the model."""
        return self.vocabulary.unknown(caption)

    def _tensor(self, pictures: Sequence[Picture]) -> Tensor:
        return to_tensor([resize(picture, self.config.image_px) for picture in pictures])

    @torch.no_grad()
    def _tell(self, pictures: Sequence[Picture], start: int) -> list[str]:
        """A caption of each picture, the likeliest word each time; `start` is the language."""
        z_BC = self.codec.encode(self._tensor(pictures))
        words_BT = torch.full((len(z_BC), 1), start)
        ended_B = torch.zeros(len(z_BC), dtype=torch.bool)
        while words_BT.shape[1] < self.config.max_words and not ended_B.all():
            logits_BV = self._describe(z_BC, words_BT)[:, -1]
            logits_BV[:, [PAD, UNKNOWN]] = -torch.inf
            next_B = torch.where(ended_B, PAD, logits_BV.argmax(-1))
            ended_B = ended_B | (next_B == END)
            words_BT = torch.cat([words_BT, next_B[:, None]], 1)
        return [self.vocabulary.decode(row) for row in words_BT.tolist()]
