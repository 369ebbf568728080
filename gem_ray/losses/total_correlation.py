"""Total correlation of the aggregate posterior: the two minibatch estimates of beta-TCVAE, and FactorVAE's critic.

TC(z) = KL(q(z) || prod_k q(z_k)), where q(z) is the mean of q(z | x) over all N images of the data. Shape suffixes: B
batch (the codes z_i), M batch (the posteriors q(. | x_j); the same images), L latents.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class KlParts(NamedTuple):
    """The KL term in three, each a batch mean in nats; their sum is a Monte Carlo estimate of KL(q(z|x) || p(z))."""

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_wise_kl: Tensor


def decompose_kl(z_BL: Tensor, mu_BL: Tensor, logvar_BL: Tensor, num_images: int, stratified: bool) -> KlParts:
    """Mutual information, total correlation and dimension-wise KL (Chen et al. 2018, eq. 2; arXiv 1802.04942).

    Args:
        z_BL: one sample of each q(z | x_i)
        num_images: N, images of the data set; with N = B both estimates are exact up to the samples
        stratified: weight by appendix C.2 (minibatch stratified sampling), else minibatch weighted sampling (C.1)
    """
    logq_BML = gaussian_log_density(z_BL[:, None], mu_BL[None], logvar_BL[None])
    log_weight_BM = (stratified_log_weights if stratified else weighted_log_weights)(len(z_BL), num_images).to(logq_BML)
    logq_z = torch.logsumexp(log_weight_BM + logq_BML.sum(-1), dim=1)
    logq_marginals = torch.logsumexp(log_weight_BM[..., None] + logq_BML, dim=1).sum(-1)
    logq_z_given_x = logq_BML.diagonal().sum(0)
    logp_z = gaussian_log_density(z_BL, torch.zeros_like(z_BL), torch.zeros_like(z_BL)).sum(-1)
    return KlParts((logq_z_given_x - logq_z).mean(), (logq_z - logq_marginals).mean(), (logq_marginals - logp_z).mean())


def weighted_log_weights(batch: int, num_images: int) -> Tensor:
    """[B, B] log 1/(N B) of every posterior (C.1); a biased estimate, too small by about log N in each density."""
    return torch.full((batch, batch), -math.log(num_images * batch), dtype=torch.float64)


def stratified_log_weights(batch: int, num_images: int) -> Tensor:
    """[B, B] log weights after C.2: 1/N for a code's own posterior, (N - 1)/(N (B - 1)) for each other one.

    The paper gives (N - m)/(N m) to one of the m = B - 1 others and 1/m to the rest; this is its mean over which one
    that is: the same expectation, less noise, and exact with N = B. The own posterior stands on the diagonal: code that
    is widely copied strides over the flattened matrix by the batch size and fills two columns instead.
    """
    if batch < 2:
        return torch.zeros(batch, batch, dtype=torch.float64)
    weights = torch.full((batch, batch), (num_images - 1) / (num_images * (batch - 1)), dtype=torch.float64)
    weights.fill_diagonal_(1.0 / num_images)
    return weights.log()


def gaussian_log_density(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """log N(z; mu, exp(logvar)), elementwise."""
    return -0.5 * (math.log(2 * math.pi) + logvar + (z - mu).square() * torch.exp(-logvar))


def permute_dimensions(z_BL: Tensor, order_BL: Tensor) -> Tensor:
    """Each latent shuffled over the batch on its own: samples of prod_k q(z_k) (Kim and Mnih 2018, algorithm 1).

    Args:
        order_BL: int64, a permutation of the batch in each column
    """
    return z_BL.gather(0, order_BL)


def critic_total_correlation(logits_B: Tensor) -> Tensor:
    """TC as the critic sees it: the mean logit of "from q(z)" over codes (Kim and Mnih 2018, eq. 3)."""
    return logits_B.mean()


def critic_loss(joint_logits_B: Tensor, permuted_logits_B: Tensor) -> Tensor:
    """Cross-entropy of the critic, 1/2 each for codes of q(z) and of prod_k q(z_k)."""
    return 0.5 * (F.softplus(-joint_logits_B).mean() + F.softplus(permuted_logits_B).mean())
