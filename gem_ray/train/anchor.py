"""What the refined adjacency is pulled to: the DisGraph, or its own past as in SUBLIME (arXiv 2201.06367).

The average starts at the DisGraph's strength and follows the refined adjacency, which is the same on all ranks; so is
the average, without a collective.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gem_ray.config import GemConfig


class AverageAnchor(nn.Module):
    """Exponential moving average [K, K] of the refined adjacency; goes into checkpoints."""

    average: Tensor
    started: Tensor

    def __init__(self, num_nodes: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("average", torch.zeros(num_nodes, num_nodes))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def forward(self, strength_KK: Tensor) -> Tensor:
        """The anchor; before the first update the DisGraph's strength."""
        return torch.where(self.started, self.average, strength_KK)

    @torch.no_grad()
    def update(self, adjacency_KK: Tensor, strength_KK: Tensor) -> None:
        """Take one step towards the refined adjacency."""
        self.average.copy_(torch.lerp(adjacency_KK.detach(), self(strength_KK), self.decay))
        self.started.fill_(True)


def build_anchor(config: GemConfig, device: torch.device) -> AverageAnchor | None:
    """The moving average where ``objective.anchor=ema``; None where the DisGraph itself is the anchor."""
    if config.objective.anchor == "prior":
        return None
    return AverageAnchor(config.model.num_nodes, config.objective.anchor_decay).to(device)
