"""The learned part of the graph: an offset that is added to the DisGraph's strength, directed and 0 at the start.

SUBLIME's learners (Liu et al. 2022, arXiv 2201.06367) compare nodes by a symmetric similarity, which would destroy the
direction of a relation. Ours are a free matrix, and two projections whose products need not be symmetric.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Projections(nn.Module):
    """Offset [i, j] = q_i . k_j of a source and a target: 2 K rank numbers in place of K^2, so that edges share them.

    The keys start at 0, hence so does the offset; the queries do not, or neither would ever get a gradient.
    """

    def __init__(self, num_nodes: int, rank: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(num_nodes, rank) / rank**0.5)
        self.keys = nn.Parameter(torch.zeros(num_nodes, rank))

    def forward(self) -> Tensor:
        """Offset [K, K], [source, target]."""
        return self.queries @ self.keys.T


def learned_offset(tensors: Mapping[str, Tensor]) -> Tensor | None:
    """The offset [K, K] in the state of a ``Gem``, whichever learner it has; None where there is none."""
    offset = tensors.get("edge_offset")
    if offset is None or "projections.queries" not in tensors:
        return offset
    return offset + tensors["projections.queries"] @ tensors["projections.keys"].T
