"""Traversals: one node is moved and the rest of the code stays (method.md, "Reading the graph in the model")."""

from __future__ import annotations

import torch
from torch import Tensor

from gem_ray.models.gem import Gem


@torch.no_grad()
def traverse(
    model: Gem, strength_KK: Tensor, z_BL: Tensor, node: int, values: Tensor, through_graph: bool = True
) -> Tensor:
    """Decode each code with one node set to each value.

    Args:
        z_BL: codes before message passing
        node: index of the attribute whose first dimension is set
        values: [T] positions, in units of the prior's standard deviation
        through_graph: True moves z and propagates, so related attributes follow; False edits z_rel of this node alone

    Returns:
        images [B, T, 3, H, W] in [0, 1]
    """
    position = node * model.config.node_dim
    num_codes, num_values = z_BL.shape[0], values.shape[0]
    moved = z_BL.repeat_interleave(num_values, dim=0)
    if through_graph:
        moved[:, position] = values.repeat(num_codes)
        z_rel = model.relate(moved, strength_KK)
    else:
        z_rel = model.relate(moved, strength_KK)
        z_rel[:, position] = values.repeat(num_codes)
    images = model.images(model.decode(z_rel))
    return images.unflatten(0, (num_codes, num_values))
