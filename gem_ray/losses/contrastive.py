"""The contrastive term of structure learning (SUBLIME, arXiv 2201.06367): a node is told by its values in both views.

Views are the node codes that the prior and the refined adjacency make of the same images; a node's representation is
its values over the batch. With few nodes the term pushes related ones apart (method.md section 2): its weight is small.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

TEMPERATURE = 0.2  # SUBLIME's


def node_contrast(first_BKD: Tensor, second_BKD: Tensor) -> Tensor:
    """NT-Xent between the nodes of two views, in nats; log K where nothing tells them apart."""
    first_KF, second_KF = (view.float().transpose(0, 1).flatten(1) for view in (first_BKD, second_BKD))
    return nt_xent(first_KF, second_KF, TEMPERATURE)


def nt_xent(first_KF: Tensor, second_KF: Tensor, temperature: float) -> Tensor:
    """Normalised, temperature-scaled cross-entropy: row i of one view belongs to row i of the other, both ways."""
    cosine_KK = F.normalize(first_KF, dim=1) @ F.normalize(second_KF, dim=1).T
    own_K = torch.arange(len(cosine_KK), device=cosine_KK.device)
    logits_KK = cosine_KK / temperature
    return 0.5 * (F.cross_entropy(logits_KK, own_K) + F.cross_entropy(logits_KK.T, own_K))
