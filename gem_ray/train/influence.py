"""How much the loss hangs on each edge: the mean size of its gradient between two checkpoints, in plain torch.

``edge_offset.grad`` after ``backward`` is dLoss/dA of the refined adjacency A, averaged by DDP over all ranks: of the
whole loss, every way that A takes into it, the pull of the graph term back to the prior (2 l_graph confidence
(A - strength)) included. That pull is 0 where nothing was learned against the prior, and where something was it holds
the other terms in balance; so it is sizes that are averaged, step by step, not signed gradients, whose mean vanishes
wherever training has settled. An edge clamped at -1 or +1 cannot move and has 0. Without a graph all have 0.
"""

from __future__ import annotations

import torch
from torch import Tensor


class EdgeInfluence:
    """Sums |dLoss/dA| [K, K] on the parameter's own device; nothing waits for it before ``take``.

    It lives in one process only: after a restart the mean begins anew.
    """

    def __init__(self, edge_offset: Tensor) -> None:
        self._edge_offset = edge_offset
        self._total = torch.zeros_like(edge_offset, requires_grad=False)
        self._num_steps = 0

    def add(self) -> None:
        """Count the gradient of the step just done, before the next one clears it."""
        if self._edge_offset.grad is not None:
            self._total += self._edge_offset.grad.detach().abs()
        self._num_steps += 1

    def take(self) -> list[list[float]]:
        """The mean [K][K] since the last call; 0 where there was no step. Waits for the device."""
        mean: list[list[float]] = (self._total / max(1, self._num_steps)).cpu().tolist()
        self._total.zero_()
        self._num_steps = 0
        return mean
