"""How likely the words of a caption are: what models that describe pictures share.

Shapes here: B pictures, T words, V words known.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmgen.models.anyto.vocabulary import PAD, Vocabulary


def caption_numbers(vocabulary: Vocabulary, caption: str, language: str, length: int) -> Tensor:
    """Numbers (1 + T,) of the language and of a caption's words, cut as in training; no end, no padding."""
    numbers = torch.tensor(vocabulary.encode(caption, language, length))
    return numbers[numbers != PAD][:-1]


def log_likelihoods(logits_BTV: Tensor, words_T: Tensor) -> Tensor:
    """Log-probability (B, T) in nats of `words_T` under logits for each place."""
    words_BT1 = words_T.expand(len(logits_BTV), -1)[..., None]
    return logits_BTV.log_softmax(-1).gather(2, words_BT1)[..., 0]
