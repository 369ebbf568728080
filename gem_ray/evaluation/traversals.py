"""Moving one node at a time: over which positions, and what changes in the picture.

Shape suffixes: B codes, L latents, K nodes, T positions, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from gem_ray.evaluation.reconstruction import decode_all
from gem_ray.models.gem import Gem

POSITIONS = 9
TAIL = 0.01


class Moved(NamedTuple):
    """Codes z_rel [B, T, L] with one node at each of some values.

    The node is the same in both: through the graph the others follow it, alone they stay where they were. What differs
    between the two is therefore propagation and nothing else.
    """

    through: Tensor
    alone: Tensor


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


@torch.no_grad()
def move_node(model: Gem, strength_KK: Tensor, start_BL: Tensor, node: int, values_T: Tensor) -> Moved:
    """Set the first dimension of a node of each code to each value, with and without propagation.

    Args:
        start_BL: codes before message passing
        values_T: in units of the prior's standard deviation
    """
    block = slice(node * model.config.node_dim, (node + 1) * model.config.node_dim)
    num_codes, num_values = len(start_BL), len(values_T)
    moved = start_BL.repeat_interleave(num_values, dim=0)
    moved[:, block.start] = values_T.repeat(num_codes)
    through = model.relate(moved, strength_KK)
    alone = model.relate(start_BL, strength_KK).repeat_interleave(num_values, dim=0)
    alone[:, block] = through[:, block]
    return Moved(through.unflatten(0, (num_codes, num_values)), alone.unflatten(0, (num_codes, num_values)))


def traverse_nodes(model: Gem, strength_KK: Tensor, start_BL: Tensor, mu_BL: Tensor) -> Traversals:
    """Every node of some start codes over ``POSITIONS`` steps of its own span.

    Args:
        start_BL: codes to start from, before message passing
        mu_BL: codes of many images before message passing, that say how far to go
    """
    steps = torch.linspace(0, 1, POSITIONS)
    return traverse_some(model, strength_KK, start_BL, mu_BL, range(model.config.num_nodes), steps)


def traverse_some(
    model: Gem, strength_KK: Tensor, start_BL: Tensor, mu_BL: Tensor, nodes: Iterable[int], steps_T: Tensor
) -> Traversals:
    """Some nodes, at positions given as shares of their spans: 0 is low, 1 is high."""
    low, high = span(mu_BL)
    steps = steps_T.to(start_BL.device)
    panels: list[list[Tensor]] = [[], []]
    for node in nodes:
        at = node * model.config.node_dim
        moved = move_node(model, strength_KK, start_BL, node, low[at] + (high[at] - low[at]) * steps)
        for images, codes in zip(panels, moved):
            images.append(decode_all(model, codes.flatten(0, 1)).unflatten(0, codes.shape[:2]))
    through, alone = (torch.stack(images, dim=1) for images in panels)
    return Traversals(through, alone)


def node_changes(model: Gem, strength_KK: Tensor, mu_BL: Tensor, num_codes: int = 64) -> Changes:
    """Where pictures change with each node, on average over some of the codes."""
    ends = torch.tensor([0.0, 1.0])
    found = traverse_some(model, strength_KK, mu_BL[:num_codes], mu_BL, range(model.config.num_nodes), ends)
    return Changes(*((images[:, :, 1] - images[:, :, 0]).abs().mean(dim=(0, 2)) for images in found))
