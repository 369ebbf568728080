"""E_gnn: message passing of the node codes over the DisGraph (GEM section 3.1), dense and batched.

Shape suffixes: B batch, K nodes, D dimensions of a node. Adjacencies are indexed [source, target], as the DisGraph is.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch_geometric.nn import DenseGraphConv


def normalize_incoming(strength_KK: Tensor) -> Tensor:
    """Signed strengths, each divided by 1 + the sum of absolute strengths that reach its target.

    The paper's symmetric D^-1/2 (A + I) D^-1/2 fails for signed, directed weights (method.md section 2). The 1
    stands for the self-loop, which ``GraphNetwork`` holds as the root weight of its convolutions.
    """
    return strength_KK / (1.0 + strength_KK.abs().sum(dim=0, keepdim=True))


class GraphNetwork(nn.Module):
    r"""Rounds of :math:`T' = T \Omega_{root} + \hat A^\top T \Omega_{rel}` with SiLU between them.

    One graph is shared by the whole batch, so propagation is one small dense product; ``DenseGraphConv`` equals
    PyG's sparse ``GraphConv`` on the same graph. A single round starts as z_rel = z + A_hat^T z (both Omega
    the identity) and stays linear.

    Args:
        node_dim: D, dimensions of a node on both sides
        layers: rounds of message passing
        hidden: node features between rounds
        learned: False leaves a single round as it starts; more rounds have nothing to start from and are learned
    """

    def __init__(self, node_dim: int, layers: int, hidden: int, learned: bool = True) -> None:
        from torch_geometric.nn import DenseGraphConv  # takes seconds to import, and most processes build no network

        super().__init__()
        sizes = [node_dim, *[hidden] * (layers - 1), node_dim]
        self.convolutions = nn.ModuleList(DenseGraphConv(a, b) for a, b in pairwise(sizes))
        if layers == 1:
            self._start_at_identity(self.convolutions[0])
            self.requires_grad_(learned)

    @staticmethod
    def _start_at_identity(convolution: DenseGraphConv) -> None:
        nn.init.eye_(convolution.lin_rel.weight)
        nn.init.eye_(convolution.lin_root.weight)
        nn.init.zeros_(convolution.lin_rel.bias)

    def forward(self, z_BKD: Tensor, strength_KK: Tensor) -> Tensor:
        """Relation-aware node codes [B, K, D] from codes of the same shape and signed strengths [K, K]."""
        adjacency_KK = normalize_incoming(strength_KK).T  # DenseGraphConv multiplies by [target, source]
        for index, convolution in enumerate(self.convolutions):
            z_BKD = convolution(torch.nn.functional.silu(z_BKD) if index else z_BKD, adjacency_KK)
        return z_BKD
