"""The trunk: a pre-norm transformer over blocks of tokens.

A source block is seen whole; a target block of text is causal. Differences from Vaswani et al. 2017
(arXiv:1706.03762): RMSNorm before each part (arXiv:1910.07467), normalised queries and keys (arXiv:2010.04245),
squared ReLU (arXiv:2109.08668), and output projections that start at zero, so that a block starts as identity.

Shapes here: B batch, T tokens, D width, H heads, K channels of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Attention and a two-layer perceptron, both added to the stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.mlp_norm = nn.RMSNorm(width)
        self.mlp_in = nn.Linear(width, 4 * width, bias=False)
        self.mlp_out = nn.Linear(4 * width, width, bias=False)
        nn.init.zeros_(self.attention_out.weight)
        nn.init.zeros_(self.mlp_out.weight)

    def forward(self, x_BTD: Tensor, allowed: Tensor) -> Tensor:
        """One block.

        Args:
            x_BTD: tokens.
            allowed: bool (B or 1, 1, T, T); True where the row may look at the column.
        """
        batch, length, width = x_BTD.shape
        qkv = self.qkv(self.attention_norm(x_BTD)).view(batch, length, 3, self.heads, width // self.heads)
        q_BHTK, k_BHTK, v_BHTK = qkv.permute(2, 0, 3, 1, 4)
        q_BHTK, k_BHTK = F.rms_norm(q_BHTK, q_BHTK.shape[-1:]), F.rms_norm(k_BHTK, k_BHTK.shape[-1:])
        mixed_BHTK = F.scaled_dot_product_attention(q_BHTK, k_BHTK, v_BHTK, attn_mask=allowed)
        x_BTD = x_BTD + self.attention_out(mixed_BHTK.transpose(1, 2).reshape(batch, length, width))
        hidden: Tensor = F.relu(self.mlp_in(self.mlp_norm(x_BTD))).square()
        out: Tensor = x_BTD + self.mlp_out(hidden)
        return out


class Transformer(nn.Module):
    """A stack of blocks with a norm at the end."""

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.RMSNorm(width)

    def forward(self, x_BTD: Tensor, allowed: Tensor) -> Tensor:
        """(B, T, D) tokens to (B, T, D) features; `allowed` as in `Block.forward`."""
        for block in self.blocks:
            x_BTD = block(x_BTD, allowed)
        out: Tensor = self.norm(x_BTD)
        return out


def prefix_causal(prefix: int, length: int) -> Tensor:
    """(1, 1, T, T) mask: the first `prefix` tokens see each other, the rest sees what came before.

    >>> prefix_causal(2, 3)[0, 0].int().tolist()
    [[1, 1, 0], [1, 1, 0], [1, 1, 1]]
    """
    allowed = torch.ones(length, length, dtype=torch.bool).tril()
    allowed[:prefix, :prefix] = True
    return allowed[None, None]
