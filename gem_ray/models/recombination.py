"""Codes whose nodes are each those of another image.

Every node keeps the frequencies that it has among the images, and nothing is left that ties two nodes together: what
then goes together in the pictures is what graph and decoder make.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def recombine(
    mu_NL: Tensor, logvar_NL: Tensor, node_dim: int, named_dim: int, num_codes: int, rng: np.random.Generator
) -> Tensor:
    """Draws [num_codes, L] from the codes of N images: each node from one of them, all residual latents from one more.

    Args:
        mu_NL, logvar_NL: q(z | x) of the images; draws have its noise, on which the decoder was trained
        named_dim: latents that belong to nodes, ``node_dim`` each; the rest is the residual
    """
    noise = torch.from_numpy(rng.standard_normal((num_codes, mu_NL.shape[1]))).to(mu_NL)
    codes = mu_NL.new_empty(num_codes, mu_NL.shape[1])
    blocks = [slice(start, start + node_dim) for start in range(0, named_dim, node_dim)]
    for block in [*blocks, slice(named_dim, mu_NL.shape[1])]:
        rows = torch.from_numpy(rng.integers(len(mu_NL), size=num_codes)).to(mu_NL.device)
        codes[:, block] = mu_NL[rows, block] + (0.5 * logvar_NL[rows, block]).exp() * noise[:, block]
    return codes
