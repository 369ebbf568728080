"""Moving one node at a time: over which positions, and what changes in the picture.

Shape suffixes: B codes, L latents, K nodes, T positions, H height, W width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gem_ray.models.gem import Gem
from gem_ray.models.traversal import traverse

POSITIONS = 9
TAIL = 0.01


class Traversals(NamedTuple):
    """Images [B, K, T, 3, H, W] in [0, 1] of some start codes, once through the graph and once without it."""

    through: Tensor
    alone: Tensor


class Changes(NamedTuple):
    """Mean absolute change of each pixel [K, H, W] as a node goes from its low end to its high end."""

    through: Tensor
    alone: Tensor


def span(codes_BL: Tensor) -> tuple[Tensor, Tensor]:
    """(low [L], high [L]): the range that images take, without the outermost ``TAIL`` on either side.

    A latent that hardly varies is given one unit to either side of its median: a position that a prior of variance 1
    holds likely, and enough to see whether the decoder would heed it.
    """
    quantiles = torch.quantile(codes_BL, torch.tensor([TAIL, 0.5, 1 - TAIL], device=codes_BL.device), dim=0)
    return torch.minimum(quantiles[0], quantiles[1] - 1), torch.maximum(quantiles[2], quantiles[1] + 1)


def traverse_nodes(model: Gem, strength_KK: Tensor, start_BL: Tensor, mu_BL: Tensor, z_rel_BL: Tensor) -> Traversals:
    """Every node of some start codes over ``POSITIONS`` steps of its own span.

    Args:
        start_BL: codes to start from, before message passing
        mu_BL, z_rel_BL: codes of many images, before and after message passing, that say how far to go
    """
    through = _all_nodes(model, strength_KK, start_BL, mu_BL, POSITIONS, True)
    alone = _all_nodes(model, strength_KK, start_BL, z_rel_BL, POSITIONS, False)
    return Traversals(through, alone)


def node_changes(model: Gem, strength_KK: Tensor, mu_BL: Tensor, z_rel_BL: Tensor, num_codes: int = 64) -> Changes:
    """Where pictures change with each node, on average over some of the codes."""
    maps = []
    for codes, through in ((mu_BL, True), (z_rel_BL, False)):
        ends = _all_nodes(model, strength_KK, mu_BL[:num_codes], codes, 2, through)
        maps.append((ends[:, :, 1] - ends[:, :, 0]).abs().mean(dim=(0, 2)))
    return Changes(*maps)


def _all_nodes(
    model: Gem, strength_KK: Tensor, start_BL: Tensor, codes_BL: Tensor, positions: int, through_graph: bool
) -> Tensor:
    low, high = span(codes_BL)
    images = []
    for node in range(model.config.num_nodes):
        at = node * model.config.node_dim
        values = torch.linspace(float(low[at]), float(high[at]), positions, device=start_BL.device)
        images.append(traverse(model, strength_KK, start_BL, node, values, through_graph))
    return torch.stack(images, dim=1)
