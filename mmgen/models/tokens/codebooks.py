"""The discrete picture codec: principal components, cut into groups, each group a codebook found by k-means.

Product quantisation (Jegou et al. 2011, IEEE TPAMI 33:117) on principal components: a picture is G codes, the first for
the coarsest few components, the last for the finest. Nothing is trained: seconds to fit. A learned VQ-VAE (van den Oord
et al. 2017, arXiv:1711.00937) codes patches instead; k-means on patches of these pictures keeps less of them for the
same number of codes, and its tiles show. Bound to its data set, as the principal components are.

Shapes here: N pictures, C components, G groups and codes of a picture, K values of a code, M components of the largest
group; smaller groups are padded with zeros.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from mmgen.models.anyto.codec import PrincipalCodec

ROUNDS = 15
"""Of k-means."""


class PrincipalCodebooks(nn.Module):
    """Pictures to codes and back.

    Args:
        image_px: side of the pictures.
        components: C.
        groups: G.
        values: K.
    """

    book_GKM: Tensor
    scale_G: Tensor

    def __init__(self, image_px: int, components: int, groups: int, values: int) -> None:
        super().__init__()
        self.codec = PrincipalCodec(image_px, components)
        self.bounds = _bounds(components, groups)
        largest = max(end - start for start, end in self.bounds)
        self.register_buffer("book_GKM", torch.zeros(groups, values, largest))
        self.register_buffer("scale_G", torch.ones(groups))

    @torch.no_grad()
    def fit(self, images_N3SS: Tensor, weights_N: Tensor, rng: torch.Generator) -> None:
        """Fit to training pictures.

        Args:
            images_N3SS: float in [-1, 1].
            weights_N: how much each picture counts; variants of one concept should count less.
            rng: start of the components and of k-means.
        """
        self.codec.fit(images_N3SS, weights_N, rng)
        z_NC = self._components(images_N3SS)
        for book_KM, scale, (start, end) in zip(self.book_GKM, self.scale_G, self.bounds, strict=True):
            found_KM = kmeans(z_NC[:, start:end], weights_N, len(book_KM), rng)
            book_KM.zero_()
            book_KM[:, : end - start] = found_KM
            scale.copy_(found_KM.square().mean().sqrt().clamp_min(1e-6))

    def encode(self, images_N3SS: Tensor) -> Tensor:
        """Codes (N, G) of pictures in [-1, 1]."""
        z_NC = self._components(images_N3SS)
        groups = zip(self.book_GKM, self.bounds, strict=True)
        return torch.stack([_nearest(z_NC[:, s:e], book_KM[:, : e - s]) for book_KM, (s, e) in groups], 1)

    def decode(self, codes_NG: Tensor) -> Tensor:
        """Pictures (N, 3, S, S) of codes, clamped to [-1, 1]."""
        parts = [
            book_KM[code_N, : end - start]
            for book_KM, code_N, (start, end) in zip(self.book_GKM, codes_NG.T, self.bounds, strict=True)
        ]
        return self.codec.decode(torch.cat(parts, 1) / self.codec.scale_C)

    def points(self) -> Tensor:
        """Where each code value lies, (G, K, M), each group brought to unit mean square."""
        return self.book_GKM / self.scale_G[:, None, None]

    def _components(self, images_N3SS: Tensor) -> Tensor:
        # Unscaled: then the nearest code is the one that keeps most of the picture.
        return self.codec.encode(images_N3SS) * self.codec.scale_C


def kmeans(x_NM: Tensor, weights_N: Tensor, values: int, rng: torch.Generator) -> Tensor:
    """Centres (values, M) of weighted points (Lloyd 1982, IEEE TIT 28:129); one that loses all its points moves."""
    centres_KM = x_NM[torch.multinomial(weights_N, values, replacement=len(x_NM) < values, generator=rng)]
    for _ in range(ROUNDS):
        own_N = _nearest(x_NM, centres_KM)
        mass_K = torch.zeros(values).index_add_(0, own_N, weights_N)
        sum_KM = torch.zeros_like(centres_KM).index_add_(0, own_N, x_NM * weights_N[:, None])
        lost_K = mass_K == 0
        moved_KM = x_NM[torch.multinomial(weights_N, values, replacement=True, generator=rng)]
        centres_KM = torch.where(lost_K[:, None], moved_KM, sum_KM / mass_K.clamp_min(1e-12)[:, None])
    return centres_KM


def _nearest(x_NM: Tensor, centres_KM: Tensor) -> Tensor:
    return (centres_KM.square().sum(1) - 2 * x_NM @ centres_KM.T).argmin(1)


def _bounds(components: int, groups: int) -> list[tuple[int, int]]:
    """First and last component of each group: early ones carry more, so that early groups hold fewer.

    >>> _bounds(64, 4)
    [(0, 7), (7, 20), (20, 39), (39, 64)]
    """
    shares = [place / groups for place in range(groups + 1)]
    ends = [round(components * (share / 4 + share**2 * 3 / 4)) for share in shares]
    return list(itertools.pairwise(ends))
