"""The trunk: a pre-norm transformer that keeps the keys and values of what it has read.

Vaswani et al. 2017 (arXiv:1706.03762) with RMSNorm before each part (arXiv:1910.07467), normalised queries and keys
(arXiv:2010.04245), squared ReLU (arXiv:2109.08668), and output projections that start at zero. In decoding a token is
read once: later ones attend to its kept keys and values.

Shapes here: B batch, T new tokens, P tokens in all, D width, H heads, K channels of a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kept = tuple[Tensor, Tensor]
"""Keys and values (B, H, P, K) of one block."""


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

    def forward(self, x_BTD: Tensor, allowed: Tensor, kept: Kept | None) -> tuple[Tensor, Kept]:
        """One block.

        Args:
            x_BTD: new tokens.
            allowed: bool (B or 1, 1, T, P); True where the row may look at the column.
            kept: keys and values of the tokens before.
        """
        batch, length, width = x_BTD.shape
        qkv = self.qkv(self.attention_norm(x_BTD)).view(batch, length, 3, self.heads, width // self.heads)
        q_BHTK, k_BHPK, v_BHPK = qkv.permute(2, 0, 3, 1, 4)
        q_BHTK, k_BHPK = F.rms_norm(q_BHTK, q_BHTK.shape[-1:]), F.rms_norm(k_BHPK, k_BHPK.shape[-1:])
        if kept is not None:
            k_BHPK, v_BHPK = torch.cat([kept[0], k_BHPK], 2), torch.cat([kept[1], v_BHPK], 2)
        mixed_BHTK = F.scaled_dot_product_attention(q_BHTK, k_BHPK, v_BHPK, attn_mask=allowed)
        x_BTD = x_BTD + self.attention_out(mixed_BHTK.transpose(1, 2).reshape(batch, length, width))
        hidden: Tensor = F.relu(self.mlp_in(self.mlp_norm(x_BTD))).square()
        return x_BTD + self.mlp_out(hidden), (k_BHPK, v_BHPK)


class Transformer(nn.Module):
    """A stack of blocks with a norm at the end."""

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.RMSNorm(width)

    def forward(self, x_BTD: Tensor, allowed: Tensor, kept: Sequence[Kept] | None = None) -> tuple[Tensor, list[Kept]]:
        """Features (B, T, D) of new tokens, and what to keep of all; arguments as in `Block.forward`."""
        now = []
        for place, block in enumerate(self.blocks):
            x_BTD, keys_values = block(x_BTD, allowed, kept[place] if kept is not None else None)
            now.append(keys_values)
        return self.norm(x_BTD), now


def source_then_target(real_BS: Tensor, target: int) -> Tensor:
    """(B, 1, T, T) mask: all see the real tokens of the source; those of the target also the target before them.

    >>> source_then_target(torch.tensor([[True, False]]), 2)[0, 0].int().tolist()
    [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]]
    """
    batch, source = real_BS.shape
    allowed = torch.zeros(batch, source + target, source + target, dtype=torch.bool)
    allowed[:, :, :source] = real_BS[:, None]
    allowed[:, source:, source:] = torch.ones(target, target, dtype=torch.bool).tril()
    return allowed[:, None]
