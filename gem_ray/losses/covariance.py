"""Terms on the covariance of the codes.

DIP-VAE's (Kumar et al. 2018, arXiv 1711.00848) pulls it to the identity; XCov (Cheung et al. 2014, arXiv 1412.6583)
keeps two parts of the code apart.
"""

from __future__ import annotations

import torch
from torch import Tensor


def dip_term(mu_BL: Tensor, logvar_BL: Tensor, second_kind: bool, off_diagonal: float, diagonal: float) -> Tensor:
    """lambda_od sum_{i != j} C_ij^2 + lambda_d sum_i (C_ii - 1)^2.

    Args:
        second_kind: DIP-VAE-II, C = Cov(mu) + E diag(sigma^2), the covariance of z; else DIP-VAE-I, C = Cov(mu)
        off_diagonal, diagonal: lambda_od, lambda_d
    """
    centred = mu_BL - mu_BL.mean(dim=0)
    covariance_LL = centred.T @ centred / len(mu_BL)
    if second_kind:
        covariance_LL = covariance_LL + torch.diag(logvar_BL.exp().mean(dim=0))
    own = covariance_LL.diagonal()
    others = covariance_LL - torch.diag(own)
    return off_diagonal * others.square().sum() + diagonal * (own - 1.0).square().sum()


def cross_covariance(nodes_BN: Tensor, residual_BR: Tensor) -> Tensor:
    """1/2 sum_nr Cov(node_n, residual_r)^2 over a batch (XCov, eq. 3): 0 where no residual latent tells of a node.

    0 without residual latents.
    """
    nodes, residual = nodes_BN - nodes_BN.mean(dim=0), residual_BR - residual_BR.mean(dim=0)
    return 0.5 * (nodes.T @ residual / len(nodes)).square().sum()
