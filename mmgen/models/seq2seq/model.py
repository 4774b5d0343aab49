"""Rewriter: a transformer that reads a text and writes another: a translation, a summary.

The source is seen whole, the answer is predicted piece by piece (Vaswani et al. 2017, arXiv:1706.03762, in one trunk as
a prefix language model, Raffel et al. 2020, arXiv:1910.10683, section 3.2.1). Each piece is either written from the
vocabulary or copied from the source (pointer-generator, See, Liu and Manning 2017, arXiv:1704.04368, eq. 8 and 9):

    p(w) = g p_vocabulary(w) + (1 - g) (attention to the places of the source where w stands)

A step's batch is learned in two halves, one on each core.

Shapes here: B texts, S pieces of the source, T pieces of the answer, D width, V pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgen.data.config import DataConfig
from mmgen.data.corpus import Corpus
from mmgen.data.order import Order, generator
from mmgen.errors import ConfigError, unknown
from mmgen.examples import Example, spread
from mmgen.models.base import Loss, Model, seeded
from mmgen.models.seq2seq.config import RewriterConfig
from mmgen.models.seq2seq.pieces import END, PAD, UNKNOWN, Pieces
from mmgen.models.tokens.transformer import Kept, Transformer, source_then_target

PREVIEW = 8
CHUNK = 128
"""Most texts in one pass: bounds memory."""


@dataclass(frozen=True)
class Batch:
    """Texts as numbers, padded with 0."""

    source_BS: Tensor
    target_BT: Tensor


class RewriterBatches:
    """All texts as numbers, with the order to draw them in; of translations, a pair of languages is drawn anew."""

    def __init__(self, texts: dict[str, list[Tensor]], seed: int, order: Order, source: str) -> None:
        self._texts, self._seed, self._order, self._source = texts, seed, order, source
        self._languages = [name for name in texts if name != source]

    def at(self, step: int) -> Batch:
        """The batch of a step, long answers first."""
        rng = generator(self._seed, "pairs", step)
        pairs = []
        for row in self._order.at(step).tolist():
            count = len(self._languages)
            target = int(torch.randint(count, (1,), generator=rng))
            other = (target + 1 + int(torch.randint(max(1, count - 1), (1,), generator=rng))) % count
            read = self._texts[self._source or self._languages[other]][row]
            pairs.append((read, self._texts[self._languages[target]][row]))
        pairs.sort(key=lambda pair: -len(pair[1]))
        return Batch(*(nn.utils.rnn.pad_sequence(list(side), batch_first=True) for side in zip(*pairs, strict=True)))


class Rewriter(Model):
    """The model.

    Args:
        config: sizes.
        pieces: of the texts that it learns from.
    """

    Config = RewriterConfig
    config: RewriterConfig

    def __init__(self, config: RewriterConfig, pieces: Pieces) -> None:
        super().__init__()
        self.config, self.pieces = config, pieces
        width = config.width
        self.piece = nn.Embedding(len(pieces), width)
        self.source_place = nn.Embedding(config.max_source, width)
        self.target_place = nn.Embedding(config.max_target, width)
        self.trunk = Transformer(width, config.depth, config.heads)
        self.point_from = nn.Linear(width, width, bias=False)
        self.point_to = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, 1)
        nn.init.normal_(self.piece.weight, std=0.05)
        for places in (self.source_place, self.target_place):
            nn.init.normal_(places.weight, std=0.02)

    @classmethod
    def fit(cls, config: RewriterConfig, corpus: Corpus, data: DataConfig, rng: torch.Generator) -> Self:
        """A model with the pieces of `corpus` and first weights from `rng`.

        Raises:
            ConfigError: a translation of fewer than two languages.
        """
        if not config.source and len(data.languages) < 2:
            raise ConfigError("a translation wants at least two data.languages, such as data.languages=en,de")
        texts = [text for language in data.languages for text in corpus.captions(language)]
        if config.source:
            texts += [str(text) for text in corpus.values(config.source)]
        with seeded(rng):
            return cls(config, Pieces.fit(texts, data.languages, config.merges))

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """The module that `facts` describes, its weights still to be loaded."""
        merges = [(first, second) for first, second in facts["merges"]]
        return cls(RewriterConfig(**facts["config"]), Pieces(facts["languages"], facts["letters"], merges))

    def facts(self) -> dict[str, Any]:
        """What `from_facts` needs, as JSON values."""
        return {
            "config": asdict(self.config),
            "languages": list(self.pieces.languages),
            "letters": self.pieces.letters,
            "merges": [list(pair) for pair in self.pieces.merges],
        }

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Text from text."""
        return (("text", "text"),)

    def options(self) -> dict[str, str]:
        """What `generate` can be told, and the setting that says it otherwise."""
        return {"source": "", "language": ""}

    def batches(self, corpus: Corpus, seed: int) -> RewriterBatches:
        """Batches of `corpus`, which is encoded here, once."""
        config, languages = self.config, self.pieces.languages
        longest = {language: min(config.max_source, config.max_target) for language in languages}
        texts = {language: corpus.captions(language) for language in languages}
        if config.source:
            texts[config.source] = [str(text) for text in corpus.values(config.source)]
            longest |= {languages[0]: config.max_target, config.source: config.max_source}
        numbers = {
            name: [torch.tensor(self.pieces.encode(text, name if name in languages else languages[0], longest[name]))
                   for text in side]
            for name, side in texts.items()
        }  # fmt: skip
        weights_N = torch.tensor(corpus.variants()) ** -config.balance
        return RewriterBatches(numbers, seed, Order(weights_N, config.batch, seed, "texts"), config.source)

    def objectives(self, batch: Batch) -> dict[str, Loss]:
        """Long and short answers, together nats a piece."""
        count = int((batch.target_BT[:, 1:] != PAD).sum())
        middle = max(1, 2 * len(batch.target_BT) // 5)  # long ones cost more
        halves = {"long": slice(0, middle), "short": slice(middle, None)}
        return {
            name: partial(self._loss, Batch(batch.source_BS[rows], batch.target_BT[rows]), count)
            for name, rows in halves.items()
        }

    def _loss(self, batch: Batch, count: int, rng: torch.Generator) -> Tensor:
        source_BS, target_BT = (_trimmed(numbers) for numbers in (batch.source_BS, batch.target_BT))
        hidden_BS = torch.rand(source_BS.shape, generator=rng) < self.config.dropout
        hidden_BS &= source_BS > UNKNOWN
        hidden_BS[:, 0] = False
        read_BS = torch.where(hidden_BS, UNKNOWN, source_BS)
        log_BTV = self._log_probabilities(read_BS, source_BS, target_BT[:, :-1], None)[0]
        return F.nll_loss(log_BTV.flatten(0, 1), target_BT[:, 1:].flatten(), ignore_index=PAD, reduction="sum") / count

    def _log_probabilities(
        self, read_BS: Tensor, source_BS: Tensor, target_BT: Tensor, kept: tuple[list[Kept], Tensor] | None
    ) -> tuple[Tensor, tuple[list[Kept], Tensor]]:
        """log p (B, T, V) of the piece after each of the answer's.

        Args:
            read_BS: the source as it is read; some of it may be hidden.
            source_BS: the source as it can be copied.
            target_BT: the answer so far; with `kept`, its newest piece only.
            kept: of an earlier call: keys and values, and the features of the source.
        """
        real_BS = source_BS != PAD
        past = 0 if kept is None else kept[0][0][0].shape[2] - source_BS.shape[1]
        places_T = torch.arange(past, past + target_BT.shape[1])
        target_BTD = self.piece(target_BT) + self.target_place(places_T)
        if kept is None:
            source_BSD = self.piece(read_BS) + self.source_place(torch.arange(source_BS.shape[1]))
            allowed = source_then_target(real_BS, target_BT.shape[1])
            x_BPD, now = self.trunk(torch.cat([source_BSD, target_BTD], 1), allowed)
            source_BSD, x_BTD = x_BPD[:, : source_BS.shape[1]], x_BPD[:, source_BS.shape[1] :]
        else:
            seen = F.pad(real_BS, (0, past + 1), value=True)[:, None, None]
            x_BTD, now = self.trunk(target_BTD, seen, kept[0])
            source_BSD = kept[1]
        written_BTV = (x_BTD @ self.piece.weight.T).log_softmax(-1)
        near_BTS = self.point_from(x_BTD) @ self.point_to(source_BSD).transpose(1, 2) / self.config.width**0.5
        near_BTS = near_BTS.masked_fill(~real_BS[:, None], -torch.inf).softmax(-1)
        copied_BTV = torch.zeros_like(written_BTV).scatter_add(2, source_BS[:, None].expand_as(near_BTS), near_BTS)
        gate_BT1 = self.gate(x_BTD)
        log_BTV = torch.logaddexp(
            F.logsigmoid(gate_BT1) + written_BTV, F.logsigmoid(-gate_BT1) + copied_BTV.clamp_min(1e-9).log()
        )
        return log_BTV, (now, source_BSD)

    def generate(
        self, given: Mapping[str, Sequence[Any]], to: str, n: int, *, seed: int, options: Mapping[str, Any]
    ) -> list[str]:
        """The likeliest answer to each text, piece by piece.

        Options: `language` of the answer, the last one by default; `source`, the language of the text, the first one by
        default.

        Raises:
            ConfigError: a language that the model does not know.
        """
        languages = self.pieces.languages
        source, language = options.get("source", languages[0]), options.get("language", languages[-1])
        for name in (source, language):
            if name not in languages:
                raise ConfigError(unknown("language", name, languages))
        texts = given["text"]
        return [
            answer
            for start in range(0, n, CHUNK)
            for answer in self._answers(texts[start : start + CHUNK], source, language)
        ]

    @torch.no_grad()
    def _answers(self, texts: Sequence[str], source: str, language: str) -> list[str]:
        rows = [torch.tensor(self.pieces.encode(text, source, self.config.max_source)) for text in texts]
        source_BS = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        newest_B1 = torch.full((len(rows), 1), self.pieces.start(language))
        written, ended_B = [newest_B1], torch.zeros(len(rows), dtype=torch.bool)
        kept = None
        while len(written) < self.config.max_target and not ended_B.all():
            log_B1V, kept = self._log_probabilities(source_BS, source_BS, newest_B1, kept)
            log_BV = log_B1V[:, -1]
            log_BV[:, [PAD, UNKNOWN]] = -torch.inf
            log_BV[:, UNKNOWN + 1 : UNKNOWN + 1 + len(self.pieces.languages)] = -torch.inf
            newest_B1 = torch.where(ended_B, END, log_BV.argmax(-1))[:, None]
            ended_B = ended_B | (newest_B1[:, 0] == END)
            written.append(newest_B1)
        return [self.pieces.decode(row) for row in torch.cat(written, 1)[:, 1:].tolist()]

    def preview(self, corpus: Corpus, seed: int) -> list[Example]:
        """Answers to the same texts each time."""
        languages = self.pieces.languages
        sources = corpus.values(self.config.source) if self.config.source else corpus.captions(languages[0])
        asked = [str(sources[row]) for row in spread(len(corpus), PREVIEW)]
        said = self.generate({"text": asked}, "text", len(asked), seed=seed, options={})
        return [
            Example("", {}, [(question[:80], None), (answer, None)])
            for question, answer in zip(asked, said, strict=True)
        ]


def _trimmed(numbers_BT: Tensor) -> Tensor:
    """Without columns that are all padding."""
    return numbers_BT[:, : int((numbers_BT != PAD).sum(1).max())]
