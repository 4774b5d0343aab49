"""Four ways to join the experts of several modalities: MVAE, MMVAE, MoPoE, MVTCAE.

Each modality's encoder gives a normal over the latent space, its expert. The models of this family differ in nothing
but how experts become one posterior, and so in what is minimised (nats; r is the weighted loss of rebuilding):

mvae    product of the experts and the prior. ELBO of all modalities together and of each alone, every one rebuilding
        what it was given (Wu and Goodman 2018, arXiv:1802.05335, eq. 3 and 5).
mmvae   mixture of the experts; each rebuilds all modalities (Shi et al. 2019, arXiv:1911.03393, eq. 3). We take the
        stratified ELBO with the bound of the KL term by its mean rather than their IWAE bound.
mopoe   mixture of the products of every subset; each rebuilds all (Sutter et al. 2021, arXiv:2105.02470, eq. 6).
mvtcae  product of the experts; besides the KL to the prior the KL to each expert alone, which makes every modality say
        what all say together (Hwang et al. 2021, Multi-View Representation Learning via Total Correlation Objective,
        NeurIPS, eq. 10).

Shapes here: M modalities, S subsets, B samples, Z latent.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

Subset = tuple[int, ...]
"""Places of modalities."""


@dataclass(frozen=True)
class Normal:
    """Independent normals (B, Z) by mean and log standard deviation."""

    mean: Tensor
    log: Tensor

    def draw(self, noise: Tensor) -> Tensor:
        """A sample for each standard normal noise."""
        return self.mean + self.log.exp() * noise

    def log_density(self, z: Tensor) -> Tensor:
        """log density of (B, Z), summed over Z, without the constant of the normal."""
        return (-0.5 * ((z - self.mean) / self.log.exp()).square() - self.log).sum(-1)


def standard(like: Normal) -> Normal:
    """The prior."""
    return Normal(torch.zeros_like(like.mean), torch.zeros_like(like.log))


def product(experts: list[Normal], with_prior: bool) -> Normal:
    """The normal whose density is the product of the experts' (and the prior's): precisions add up."""
    if with_prior:
        experts = [*experts, standard(experts[0])]
    precision = sum((-2 * expert.log).exp() for expert in experts)
    weighted = sum(expert.mean * (-2 * expert.log).exp() for expert in experts)
    return Normal(torch.as_tensor(weighted / precision), -0.5 * torch.as_tensor(precision).log())


def kl_nats(q: Normal, p: Normal) -> Tensor:
    """KL(q || p) (B,)."""
    ratio = (2 * (q.log - p.log)).exp() + ((q.mean - p.mean) / p.log.exp()).square()
    return 0.5 * (ratio - 1 - 2 * (q.log - p.log)).sum(-1)


def subsets(join: str, count: int) -> list[Subset]:
    """Subsets of `count` modalities whose posteriors are learned from in one step."""
    every = tuple(range(count))
    alone: list[Subset] = [(place,) for place in every]
    if join == "mvae":
        return [every, *alone]
    if join == "mmvae":
        return alone
    if join == "mopoe":
        return [subset for size in range(1, count + 1) for subset in itertools.combinations(every, size)]
    return [every]


def proposals(join: str, count: int) -> list[Subset]:
    """Subsets whose posteriors, in even shares, are the joint posterior."""
    return [tuple(range(count))] if join in ("mvae", "mvtcae") else subsets(join, count)


def posterior(join: str, experts: list[Normal], subset: Subset) -> Normal:
    """What a subset says: the product of its experts. For `mmvae`, where only one may speak, the first of them."""
    chosen = [experts[place] for place in subset]
    return chosen[0] if join == "mmvae" else product(chosen, with_prior=join == "mvae")


def rebuilds(join: str, subset: Subset, count: int) -> Subset:
    """Which modalities a subset's sample must rebuild."""
    return subset if join == "mvae" else tuple(range(count))


def price(join: str, experts: list[Normal], joint: Normal, beta: float, alpha: float) -> Tensor:
    """The KL terms (B,) of one subset's posterior `joint`."""
    prior = kl_nats(joint, standard(joint))
    if join != "mvtcae":
        return beta * prior
    apart = torch.stack([kl_nats(joint, expert) for expert in experts]).mean(0)
    return beta * ((1 - alpha) * prior + alpha * apart)


def share(join: str, count: int, alpha: float) -> float:
    """Factor of the losses of rebuilding: (M - alpha) / M for `mvtcae`, else 1."""
    return (count - alpha) / count if join == "mvtcae" else 1.0
