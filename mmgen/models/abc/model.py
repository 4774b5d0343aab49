"""Melody: a decoder transformer that writes tunes in ABC, character by character.

A tune is kind, metre and key, then its body: the next character is predicted from all before it (Vaswani et al. 2017,
arXiv:1706.03762; tunes as characters: Sturm et al. 2016, arXiv:1604.08723, with an LSTM). A composed tune is read by
the same parser as any other; one that cannot be read, or has a bar that does not fill its metre, is composed again, up
to `tries` times (rejection sampling). What the model does at the first try is measured beside it.

Shapes here: B tunes, T characters, D width, V symbols.
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
from mmgen.errors import DataError
from mmgen.examples import Example, spread
from mmgen.modalities.music import Tune
from mmgen.modalities.scores import abc_parser
from mmgen.models.abc.config import MelodyConfig
from mmgen.models.abc.header import Header, fitting
from mmgen.models.base import Loss, Model, seeded
from mmgen.models.tokens.transformer import Kept, Transformer

PREVIEW = 4
PAD, START, END, HIDDEN = "<pad>", "<start>", "<end>", "<hidden>"
_HEAD = 4
"""Symbols before the body: start, kind, metre, key."""


@dataclass(frozen=True)
class Batch:
    """Tunes as symbol numbers, padded with 0."""

    tunes_BT: Tensor


class MelodyBatches:
    """All tunes as symbol numbers, with the order to draw them in."""

    def __init__(self, tunes: list[list[int]], batch: int, seed: int) -> None:
        self._tunes = [torch.tensor(tune) for tune in tunes]
        self._order = Order(torch.ones(len(tunes)), batch, seed, "tunes")

    def at(self, step: int) -> Batch:
        """The batch of a step, the longest tunes first."""
        chosen = sorted((self._tunes[row] for row in self._order.at(step).tolist()), key=len, reverse=True)
        return Batch(nn.utils.rnn.pad_sequence(chosen, batch_first=True))


class Melody(Model):
    """The model.

    Args:
        config: sizes.
        symbols: special ones first, then kinds, metres, keys and characters.
        headers: of the tunes that it learned from.
    """

    Config = MelodyConfig
    config: MelodyConfig

    def __init__(self, config: MelodyConfig, symbols: Sequence[str], headers: Sequence[Header]) -> None:
        super().__init__()
        self.config, self.symbols, self.headers = config, list(symbols), list(headers)
        self._number = {symbol: number for number, symbol in enumerate(self.symbols)}
        self.symbol = nn.Embedding(len(self.symbols), config.width)
        self.place = nn.Embedding(config.max_tokens, config.width)
        self.trunk = Transformer(config.width, config.depth, config.heads)
        nn.init.normal_(self.symbol.weight, std=0.05)
        nn.init.normal_(self.place.weight, std=0.02)

    @classmethod
    def fit(cls, config: MelodyConfig, corpus: Corpus, data: DataConfig, rng: torch.Generator) -> Self:
        """A model with the symbols of `corpus` and first weights from `rng`."""
        headers, bodies = zip(*(split(tune) for tune in corpus.tunes()), strict=True)
        words = sorted({word for header in headers for word in _words(header)})
        symbols = [PAD, START, END, HIDDEN, *words, *sorted({letter for body in bodies for letter in body})]
        with seeded(rng):
            return cls(config, symbols, headers)

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """The module that `facts` describes, its weights still to be loaded."""
        return cls(MelodyConfig(**facts["config"]), facts["symbols"], [Header(*header) for header in facts["headers"]])

    def facts(self) -> dict[str, Any]:
        """What `from_facts` needs, as JSON values."""
        headers = [[header.kind, header.metre, header.key] for header in self.headers]
        return {"config": asdict(self.config), "symbols": self.symbols, "headers": headers}

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """A tune from words, from its beginning, or from nothing."""
        return (("text", "music"), ("music", "music"), ("nothing", "music"))

    def options(self) -> dict[str, str]:
        """What `generate` can be told, and the setting that says it otherwise."""
        return {"tries": "tries", "temperature": "temperature"}

    def batches(self, corpus: Corpus, seed: int) -> MelodyBatches:
        """Batches of `corpus`."""
        return MelodyBatches([self.encode(*split(tune)) for tune in corpus.tunes()], self.config.batch, seed)

    def objectives(self, batch: Batch) -> dict[str, Loss]:
        """The two halves of the batch: the long tunes, and the others; together nats a character."""
        count = (batch.tunes_BT[:, _HEAD:] != 0).sum()
        middle = max(1, 2 * len(batch.tunes_BT) // 5)  # long ones cost more
        halves = {"long": batch.tunes_BT[:middle], "short": batch.tunes_BT[middle:]}
        return {name: partial(self._loss, tunes_BT, int(count)) for name, tunes_BT in halves.items() if len(tunes_BT)}

    def _loss(self, tunes_BT: Tensor, count: int, rng: torch.Generator) -> Tensor:
        tunes_BT = tunes_BT[:, : int((tunes_BT != 0).sum(1).max())]
        hidden_BT = torch.rand(tunes_BT.shape, generator=rng) < self.config.dropout
        hidden_BT[:, :_HEAD] = False
        read_BT = torch.where(hidden_BT, self._number[HIDDEN], tunes_BT)
        return self._nats(read_BT[:, :-1], tunes_BT[:, 1:]).sum() / count

    def _nats(self, read_BT: Tensor, next_BT: Tensor) -> Tensor:
        """Nats (B, T) of the characters of the body; 0 for header and padding."""
        logits_BTV, _ = self._logits(read_BT, None)
        nats_BT = F.cross_entropy(logits_BTV.flatten(0, 1), next_BT.flatten(), reduction="none").view(next_BT.shape)
        counts_BT = next_BT != 0
        counts_BT[:, : _HEAD - 1] = False
        return nats_BT * counts_BT

    def _logits(self, read_BT: Tensor, kept: list[Kept] | None) -> tuple[Tensor, list[Kept]]:
        """Logits (B, T, V) after each of the new characters, and what to keep of all."""
        before = 0 if kept is None else kept[0][0].shape[2]
        length = read_BT.shape[1]
        x_BTD = self.symbol(read_BT) + self.place.weight[before : before + length]
        allowed = torch.ones(length, before + length, dtype=torch.bool).tril(before)[None, None]
        features_BTD, now = self.trunk(x_BTD, allowed, kept)
        return features_BTD @ self.symbol.weight.T, now

    def encode(self, header: Header, body: str) -> list[int]:
        """Symbol numbers of a tune, cut to the longest that the model reads."""
        letters = [letter for letter in body if letter in self._number]
        symbols = [START, *_words(header), *letters, END][: self.config.max_tokens]
        return [self._number.get(symbol, self._number[HIDDEN]) for symbol in symbols]

    @torch.no_grad()
    def nats(self, tune: Tune) -> tuple[float, int]:
        """-log p of a tune's body given its header, in nats, and its number of characters, the end included."""
        row_1T = torch.tensor([self.encode(*split(tune))])
        return float(self._nats(row_1T[:, :-1], row_1T[:, 1:]).sum()), row_1T.shape[1] - _HEAD

    def generate(
        self, given: Mapping[str, Sequence[Any]], to: str, n: int, *, seed: int, options: Mapping[str, Any]
    ) -> list[Tune]:
        """Tunes for the requests in `given["text"]`, or that go on from `given["music"]`, or of any header.

        Options: `temperature`; `tries`, see the config.

        Raises:
            DataError: a request that asks for nothing known.
        """
        begun = [""] * n
        if "music" in given:
            parts = [split(tune) for tune in given["music"]]
            headers, begun = [header for header, _ in parts], [body.rstrip("|]:\n ") + "|" for _, body in parts]
        else:
            requests = (
                [fitting(text, self.headers) for text in given["text"]] if "text" in given else [self.headers] * n
            )
            headers = [
                choices[int(torch.randint(len(choices), (1,), generator=generator(seed, "header", place)))]
                for place, choices in enumerate(requests)
            ]
        tries = int(options.get("tries", self.config.tries))
        return [
            tune if readable(tune) else _mended(tune)
            for tune in self.compose(
                headers, begun, seed, tries, float(options.get("temperature", self.config.temperature))
            )
        ]

    def compose(
        self, headers: Sequence[Header], begun: Sequence[str], seed: int, tries: int, temperature: float
    ) -> list[Tune]:
        """A tune for each header and beginning; what is still not readable after `tries` is given as it is.

        A tune that is not is composed anew from its first wrong bar, every other time from the bar before that one.
        """
        tunes: dict[int, Tune] = {}
        left = list(range(len(headers)))
        for attempt in range(tries):
            starts = [_right_start(tunes[row], begun[row], attempt % 2) if row in tunes else begun[row] for row in left]
            bodies = self._bodies([headers[row] for row in left], starts, seed, left, attempt, temperature)
            for row, body in zip(left, bodies, strict=True):
                tunes[row] = Tune(headers[row].abc(headers[row].words()) + body)
            left = [row for row in left if not readable(tunes[row])]
            if not left:
                break
        return [tunes[row] for row in range(len(headers))]

    @torch.no_grad()
    def _bodies(
        self, headers: list[Header], begun: list[str], seed: int, rows: list[int], attempt: int, temperature: float
    ) -> list[str]:
        """Bodies drawn character by character; what is drawn depends on the row, the seed and the attempt alone."""
        starts = [self.encode(header, body)[:-1] for header, body in zip(headers, begun, strict=True)]
        drawn = [list(start) for start in starts]
        draws = [generator(seed, "tune", row, attempt) for row in rows]
        ended = [False] * len(rows)
        kept: list[Kept] | None = None
        for place in range(self.config.max_tokens - 1):
            read_B1 = torch.tensor([[row[place]] for row in drawn])
            logits_B1V, kept = self._logits(read_B1, kept)
            logits_BV = logits_B1V[:, 0] / temperature
            logits_BV[:, : len(self.symbols)][:, [self._number[word] for word in (PAD, START, HIDDEN)]] = -torch.inf
            chances_BV = logits_BV.softmax(1)
            for row, so_far in enumerate(drawn):
                if place + 1 < len(so_far):
                    continue
                next_one = 0 if ended[row] else int(torch.multinomial(chances_BV[row], 1, generator=draws[row]))
                ended[row] = ended[row] or next_one == self._number[END]
                so_far.append(next_one)
            if all(ended):
                break
        return ["".join(s for s in (self.symbols[i] for i in row[_HEAD:]) if not s.startswith("<")) for row in drawn]

    def preview(self, corpus: Corpus, seed: int) -> list[Example]:
        """Tunes for the same headers each time."""
        headers = [split(corpus.tunes()[row])[0] for row in spread(len(corpus), PREVIEW)]
        tunes = self.compose(headers, [""] * len(headers), seed, 1, self.config.temperature)
        return [
            Example(
                header.words(),
                {"tune": tune} if readable(tune) else {},
                [] if readable(tune) else [(tune.abc[-60:], False)],
            )
            for header, tune in zip(headers, tunes, strict=True)
        ]


def split(tune: Tune) -> tuple[Header, str]:
    """Header and body of a tune."""
    lines = tune.abc.strip("\n").split("\n")
    body = next(row for row, line in enumerate(lines) if line.startswith("K:")) + 1
    return Header(tune.header("R"), tune.header("M"), tune.header("K")), "\n".join(lines[body:])


def readable(tune: Tune) -> bool:
    """Whether a tune is ABC that we read, with notes, and every inner bar fills its metre."""
    try:
        score = abc_parser.parse(tune.abc, "tune")
    except DataError:
        return False
    lengths = list(score.bars())
    return len(lengths) > 1 and all(length == score.bar if inner else length <= score.bar for length, inner in lengths)


def _right_start(tune: Tune, begun: str, back: int) -> str:
    """The body up to the last bar line before the first wrong bar, or `back` bars less; `begun` at least."""
    head = tune.abc.index("\n", tune.abc.index("K:")) + 1
    body = tune.abc[head:]
    lines = [place for place, symbol in enumerate(body) if symbol == "|" and place >= len(begun)]
    right = [place for place in lines if readable(Tune(tune.abc[: head + place + 1] + "|"))]
    # Readable with a bar line more, since the last bar may be short.
    last = len(right) - 1 - back
    return body[: right[last] + 1] if last >= 0 else begun


def _mended(tune: Tune) -> Tune:
    """The longest part from the beginning that can be read, cut at a bar line; where there is none, the tonic alone."""
    text = tune.abc
    while "|" in text[text.index("K:") :]:
        text = text.rstrip("|]: \n")
        cut = text.rfind("|")
        candidate = Tune(text + " |]")
        if readable(candidate):
            return candidate
        if cut < text.index("K:"):
            break
        text = text[: cut + 1]
    key = tune.abc.index("K:")
    return Tune(f"{tune.abc[: tune.abc.index(chr(10), key) + 1]}{tune.abc[key + 2]}|]")


def _words(header: Header) -> tuple[str, str, str]:
    return f"<{header.kind}>", f"<{header.metre}>", f"<K:{header.key}>"
