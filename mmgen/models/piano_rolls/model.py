"""Rolls: a decoder transformer over the notes of a piano roll, which gives every chord an exact likelihood.

A frame (a quarter note) is its pitches from the highest down, then an end; each is predicted from all before it, and a
pitch that is not below the one before has probability 0, so that the probabilities of all chords add up to 1. Nats a
frame can therefore be held against models that predict the 88 keys of a frame at once, such as RNN-NADE
(Boulanger-Lewandowski et al. 2012, arXiv:1206.6392) and TCN (Bai et al. 2018, arXiv:1803.01271). A note is read with
its frame, its place in the chord and its beat among sixteen; pieces are moved up and down to other keys in training.

Shapes here: B pieces, T notes and ends, D width, V symbols.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgen.data.corpus import Corpus
from mmgen.data.order import Order, generator
from mmgen.errors import DataError
from mmgen.examples import Example
from mmgen.modalities.music import Tune, frames, from_frames
from mmgen.models.base import Loss, Model
from mmgen.models.piano_rolls.config import RollsConfig
from mmgen.models.tokens.transformer import Kept, Transformer

PREVIEW = 2
PAD, END, START, HIDDEN = 0, 1, 2, 3
_FIRST, _LOWEST, _HIGHEST = 4, 33, 88
"""Number of the lowest pitch, and the pitches that are known."""
_BEATS = 16

Chords = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Batch:
    """Pieces as symbol numbers, padded with 0; with each symbol's frame and its place in the chord."""

    notes_BT: Tensor
    frame_BT: Tensor
    slot_BT: Tensor


class RollsBatches:
    """All pieces as chords, with the order to draw them in."""

    def __init__(self, pieces: list[Chords], config: RollsConfig, seed: int) -> None:
        self._pieces, self._config, self._seed = pieces, config, seed
        self._order = Order(torch.ones(len(pieces)), config.batch, seed, "rolls")

    def at(self, step: int) -> Batch:
        """The batch of a step, the longest pieces first, each moved to a key of its own."""
        rows = self._order.at(step).tolist()
        by = self._config.transpose
        moves = torch.randint(-by, by + 1, (len(rows),), generator=generator(self._seed, "keys", step)).tolist()
        pieces = [
            [[pitch + move for pitch in chord] for chord in self._pieces[row]]
            for row, move in zip(rows, moves, strict=True)
        ]
        return encoded(sorted(pieces, key=len, reverse=True), self._config)


class Rolls(Model):
    """The model.

    Args:
        config: sizes.
    """

    Config = RollsConfig
    config: RollsConfig

    def __init__(self, config: RollsConfig) -> None:
        super().__init__()
        self.config = config
        self.note = nn.Embedding(_FIRST + _HIGHEST - _LOWEST + 1, config.width)
        self.frame = nn.Embedding(config.max_frames + 1, config.width)
        self.slot = nn.Embedding(config.voices + 2, config.width)
        self.beat = nn.Embedding(_BEATS, config.width)
        self.trunk = Transformer(config.width, config.depth, config.heads)
        self.write = nn.Linear(config.width, len(self.note.weight))
        for embedding in (self.note, self.frame, self.slot, self.beat):
            nn.init.normal_(embedding.weight, std=0.05)

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """A piece from nothing, or from its beginning."""
        return (("nothing", "music"), ("music", "music"))

    def options(self) -> dict[str, str]:
        """What `generate` can be told, and the setting that says it otherwise."""
        return {"frames": "frames", "temperature": "temperature"}

    def batches(self, corpus: Corpus, seed: int) -> RollsBatches:
        """Batches of `corpus`."""
        return RollsBatches([frames(tune) for tune in corpus.tunes()], self.config, seed)

    def objectives(self, batch: Batch) -> dict[str, Loss]:
        """The long and the short pieces of the batch, together nats a note."""
        count = int((batch.notes_BT[:, 1:] != PAD).sum())
        middle = max(1, 2 * len(batch.notes_BT) // 5)  # long ones cost more
        halves = {"long": slice(0, middle), "short": slice(middle, None)}
        return {
            name: partial(self._loss, Batch(batch.notes_BT[rows], batch.frame_BT[rows], batch.slot_BT[rows]), count)
            for name, rows in halves.items()
        }

    def _loss(self, batch: Batch, count: int, rng: torch.Generator) -> Tensor:
        hidden_BT = torch.rand(batch.notes_BT.shape, generator=rng) < self.config.dropout
        read_BT = torch.where(hidden_BT & (batch.notes_BT >= _FIRST), HIDDEN, batch.notes_BT)
        return self._nats(batch, read_BT).sum() / count

    def _nats(self, batch: Batch, read_BT: Tensor) -> Tensor:
        """Nats (B, T - 1) of each symbol after the first; 0 for padding."""
        length = int((batch.notes_BT != PAD).sum(1).max())
        cut = slice(0, length - 1)
        allowed = torch.ones(length - 1, length - 1, dtype=torch.bool).tril()[None, None]
        x_BTD, _ = self.trunk(self._read(read_BT[:, cut], batch.frame_BT[:, cut], batch.slot_BT[:, cut]), allowed)
        logits_BTV = self._possible(self.write(x_BTD), batch.notes_BT[:, cut])
        wanted_BT = batch.notes_BT[:, 1:length]
        nats_BT = F.cross_entropy(logits_BTV.flatten(0, 1), wanted_BT.flatten(), ignore_index=PAD, reduction="none")
        return nats_BT.view(wanted_BT.shape)

    def _read(self, notes_BT: Tensor, frame_BT: Tensor, slot_BT: Tensor) -> Tensor:
        out: Tensor = self.note(notes_BT) + self.frame(frame_BT) + self.slot(slot_BT) + self.beat(frame_BT % _BEATS)
        return out

    def _possible(self, logits_BTV: Tensor, before_BT: Tensor) -> Tensor:
        """Logits where the next pitch must lie below the one before; after an end any pitch may come."""
        places_V = torch.arange(logits_BTV.shape[-1])
        is_note_V = places_V >= _FIRST
        rises_BTV = (before_BT[..., None] >= _FIRST) & (places_V >= before_BT[..., None]) & is_note_V
        never_V = (places_V != END) & ~is_note_V
        return logits_BTV.masked_fill(rises_BTV | never_V, -torch.inf)

    @torch.no_grad()
    def nats(self, tune: Tune) -> tuple[float, int]:
        """-log p of a piece in nats, and its number of frames."""
        piece = frames(tune)[: self.config.max_frames]
        batch = encoded([piece], self.config)
        return float(self._nats(batch, batch.notes_BT).sum()), len(piece)

    def generate(
        self, given: Mapping[str, Sequence[Any]], to: str, n: int, *, seed: int, options: Mapping[str, Any]
    ) -> list[Tune]:
        """Pieces of `frames` quarter notes, from nothing or from their beginning.

        Options: `frames`, `temperature`.

        Raises:
            DataError: a beginning that is as long as the piece, or more frames than the model knows.
        """
        wanted = int(options.get("frames", self.config.frames))
        if not 1 <= wanted <= self.config.max_frames:
            raise DataError(f"frames={wanted}: want 1 to {self.config.max_frames}")
        begun: list[Chords] = [frames(tune) for tune in given["music"]] if "music" in given else [[]] * n
        for piece in begun:
            if len(piece) >= wanted:
                raise DataError(f"the tune has {len(piece)} quarter notes; give fewer than frames={wanted}")
        temperature = float(options.get("temperature", self.config.temperature))
        made = [
            self._composed(piece, wanted, generator(seed, "roll", row), temperature) for row, piece in enumerate(begun)
        ]
        titles = ["Continued" if piece else "Composed" for piece in begun]
        return [from_frames(piece, title=title) for piece, title in zip(made, titles, strict=True)]

    @torch.no_grad()
    def _composed(self, begun: Chords, wanted: int, rng: torch.Generator, temperature: float) -> list[list[int]]:
        """The piece, note by note."""
        piece = [list(chord) for chord in encodable(begun, self.config)]
        batch = encoded([piece], self.config)
        kept: list[Kept] | None = None
        notes_1T, frame_1T, slot_1T = batch.notes_BT, batch.frame_BT, batch.slot_BT
        chord: list[int] = []
        while len(piece) < wanted:
            before = 0 if kept is None else kept[0][0].shape[2]
            length = notes_1T.shape[1]
            allowed = torch.ones(length, before + length, dtype=torch.bool).tril(before)[None, None]
            x_1TD, kept = self.trunk(self._read(notes_1T, frame_1T, slot_1T), allowed, kept)
            logits_V = self._possible(self.write(x_1TD[:, -1:]), notes_1T[:, -1:])[0, -1] / temperature
            if len(chord) == self.config.voices:
                logits_V[_FIRST:] = -torch.inf
            note = int(torch.multinomial(logits_V.softmax(0), 1, generator=rng))
            notes_1T, frame_1T = torch.tensor([[note]]), torch.tensor([[len(piece)]])
            if note == END:
                slot_1T = torch.tensor([[0]])
                frame_1T = frame_1T + 1
                piece.append(chord)
                chord = []
            else:
                chord.append(note - _FIRST + _LOWEST)
                slot_1T = torch.tensor([[len(chord)]])
        return piece

    def preview(self, corpus: Corpus, seed: int) -> list[Example]:
        """Pieces from the same numbers each time."""
        made = self.generate({}, "music", PREVIEW, seed=seed, options={"frames": min(32, self.config.max_frames)})
        return [Example("from nothing", {"made": tune}) for tune in made]


def encodable(piece: Chords, config: RollsConfig) -> list[tuple[int, ...]]:
    """Chords that the model can write: known pitches, the highest `voices` of each, at most `max_frames`."""
    cut = piece[: config.max_frames]
    return [
        tuple(sorted({p for p in chord if _LOWEST <= p <= _HIGHEST}, reverse=True)[: config.voices]) for chord in cut
    ]


def encoded(pieces: Sequence[Chords], config: RollsConfig) -> Batch:
    """Pieces as symbols. A symbol carries the frame and the place of what comes after it: an end opens the next one."""
    notes: list[Tensor] = []
    at: list[Tensor] = []
    slots: list[Tensor] = []
    for piece in pieces:
        numbers, places, order = [START], [0], [0]
        for frame, chord in enumerate(encodable(piece, config)):
            numbers += [pitch - _LOWEST + _FIRST for pitch in chord] + [END]
            places += [frame] * len(chord) + [frame + 1]
            order += [*range(1, len(chord) + 1), 0]
        for found, values in ((notes, numbers), (at, places), (slots, order)):
            found.append(torch.tensor(values))
    return Batch(*(nn.utils.rnn.pad_sequence(side, batch_first=True) for side in (notes, at, slots)))
