"""A memory of words and word pairs: what a caption's words say directly, without passing through the transformer.

Each word and each pair of neighbours looks up a vector in a table; pairs share rows by hashing, twice, so that two
pairs that meet in one half differ in the other. Lookup costs nothing beside a matrix product, and a picture that goes
with one rare word is stored in a few visits. After Engram (Cheng et al. 2026, arXiv:2601.07372), which gates such
lookups into every layer of a language model; here they are pooled over the caption and join the condition.

Shapes here: B captions, T words, M width of the memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmgen.models.anyto.vocabulary import PAD

# Odd multipliers below 2**31, so that products of word numbers stay exact in 64 bits.
_HASHES = ((1_540_483_477, 668_265_263), (374_761_393, 1_103_515_245))


class PhraseMemory(nn.Module):
    """Pooled vectors of a caption's words and word pairs."""

    def __init__(self, words: int, rows: int, width: int) -> None:
        super().__init__()
        self.rows = rows
        self.word = nn.Embedding(words, width)
        self.pair = nn.ModuleList(nn.Embedding(rows, width // len(_HASHES)) for _ in _HASHES)
        for table in (self.word, *self.pair):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, words_BT: Tensor) -> Tensor:
        """(B, M) from word numbers, padding left out."""
        real_BT1 = (words_BT != PAD)[..., None]
        count_B1 = real_BT1.sum(1)
        said_BM = (self.word(words_BT) * real_BT1).sum(1)
        first, second = words_BT[:, :-1], words_BT[:, 1:]
        pairs = [
            (table((first * a + second * b) % 2**31 % self.rows) * real_BT1[:, 1:]).sum(1)
            for table, (a, b) in zip(self.pair, _HASHES, strict=True)
        ]
        pooled_BM: Tensor = (said_BM + torch.cat(pairs, 1)) / count_B1.sqrt()
        return pooled_BM
