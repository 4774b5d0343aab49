"""A memory of phrases: what a caption's words say directly, without passing through the transformer.

Each word, each pair of neighbours, and each word together with its distance from the caption's end looks up a vector in
a table. Pairs and placed words share rows by hashing, twice, so that two that meet in one half differ in the other. A
lookup costs nothing beside a matrix product, and a picture that goes with one rare word is stored in a few visits; the
place tells whose skin tone is meant where a caption names two.

Source: Engram, Cheng et al. 2026, arXiv:2601.07372. Unlike there, where lookups are gated into the layers of a language
model, they are pooled over the caption and join the condition.

Shapes here: B captions, T words, M width of the memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmgen.models.anyto.vocabulary import PAD

# Odd multipliers below 2**31: products of word numbers stay exact in 64 bits.
_HASHES = ((1_540_483_477, 668_265_263), (374_761_393, 1_103_515_245))
_FIRST_PLACE = 100_003
"""Places are hashed as if they were words beyond any vocabulary, so that they meet no pair by rule."""


class PhraseMemory(nn.Module):
    """Pooled vectors of a caption's words, word pairs and placed words."""

    def __init__(self, words: int, rows: int, width: int) -> None:
        super().__init__()
        self.rows = rows
        self.word = nn.Embedding(words, width)
        self.phrase = nn.ModuleList(nn.Embedding(rows, width // len(_HASHES)) for _ in _HASHES)
        for table in (self.word, *self.phrase):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, words_BT: Tensor) -> Tensor:
        """(B, M) from word numbers, padding left out."""
        real_BT = words_BT != PAD
        count_B1 = real_BT.sum(1, keepdim=True)
        from_end_BT = count_B1 - torch.arange(words_BT.shape[1], device=words_BT.device)
        first_BP = torch.cat([words_BT[:, :-1], words_BT], 1)
        second_BP = torch.cat([words_BT[:, 1:], from_end_BT.clamp_min(0) + _FIRST_PLACE], 1)
        counts_BP1 = torch.cat([real_BT[:, 1:], real_BT], 1)[..., None]
        said_BM = (self.word(words_BT) * real_BT[..., None]).sum(1)
        phrases = [
            (table((first_BP * a + second_BP * b) % 2**31 % self.rows) * counts_BP1).sum(1)
            for table, (a, b) in zip(self.phrase, _HASHES, strict=True)
        ]
        pooled_BM: Tensor = (said_BM + torch.cat(phrases, 1)) / count_B1.sqrt()
        return pooled_BM
