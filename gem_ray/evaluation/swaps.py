"""Node swaps: two images exchange one node of their codes, and only what the node stands for should change hands.

Shape suffixes: B images, L latents, K nodes, P pairs, H height, W width.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gem_ray.evaluation.reconstruction import decode_all
from gem_ray.evaluation.traversals import span
from gem_ray.models.gem import Gem

CANDIDATES = 256
"""Images among which pairs are sought."""


class Swaps(NamedTuple):
    """Pairs of images, what the model makes of them, and of them with one node exchanged; images in [0, 1].

    Args:
        pairs: [P, 2] which images
        reconstructions: [P, 2, 3, H, W]
        swapped: [P, 2, K, 3, H, W]: each image with one node of the other
        distance: [P, K] how far apart the two images are in each node, as a share of its span; below 0 where the
            first image has less of it
    """

    pairs: NDArray[np.int64]
    reconstructions: Tensor
    swapped: Tensor
    distance: NDArray[np.float64]


def swap_node(first_BL: Tensor, second_BL: Tensor, node: int, node_dim: int) -> tuple[Tensor, Tensor]:
    """Both codes with all dimensions of one node exchanged; doing so twice changes nothing."""
    block = slice(node * node_dim, (node + 1) * node_dim)
    first, second = first_BL.clone(), second_BL.clone()
    first[:, block], second[:, block] = second_BL[:, block], first_BL[:, block]
    return first, second


def swap_nodes(model: Gem, strength_KK: Tensor, mu_BL: Tensor, num_pairs: int) -> Swaps:
    """Swap every node of some pairs of images, before message passing: what is related to the node follows it.

    Args:
        mu_BL: codes of images; the pairs are those of the first ``CANDIDATES`` that differ most
    """
    dim, nodes = model.config.node_dim, model.config.num_nodes
    first_dimensions = [node * dim for node in range(nodes)]
    low, high = (end[first_dimensions] for end in span(mu_BL))
    shares = ((mu_BL[:CANDIDATES, first_dimensions] - low) / (high - low)).clamp(0, 1).double().numpy()
    pairs = different_pairs(shares, num_pairs)
    first, second = mu_BL[pairs[:, 0]], mu_BL[pairs[:, 1]]
    codes = [torch.stack([first, second], dim=1)]
    codes += [torch.stack(swap_node(first, second, node, dim), dim=1) for node in range(nodes)]
    stacked = torch.stack(codes, dim=2)  # [P, 2, 1 + K, L]
    with torch.no_grad():
        images = decode_all(model, model.relate(stacked.flatten(0, 2), strength_KK)).unflatten(0, stacked.shape[:3])
    return Swaps(pairs, images[:, :, 0], images[:, :, 1:], shares[pairs[:, 0]] - shares[pairs[:, 1]])


def different_pairs(shares_BK: NDArray[np.floating], num_pairs: int) -> NDArray[np.int64]:
    """Pairs [P, 2] of rows that differ most, no row twice; later pairs also differ from the rows of earlier ones.

    A swap of two images that are alike in a node shows nothing, so that pairs at random would mostly show nothing.
    """
    gaps = np.abs(shares_BK[:, None] - shares_BK[None]).mean(axis=-1)
    free = np.triu(np.ones(gaps.shape, dtype=bool), k=1)
    news = np.zeros(len(gaps))
    pairs: list[tuple[int, int]] = []
    while len(pairs) < num_pairs and free.any():
        value = np.where(free, gaps + news[:, None] + news[None], -1.0)
        i, j = (int(at) for at in np.unravel_index(int(value.argmax()), value.shape))
        pairs.append((i, j))
        free[[i, j], :] = free[:, [i, j]] = False
        news = gaps[:, np.array(pairs).flatten()].min(axis=1)
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
