"""What follows when a node is moved: examples that the strongest relations of the graph choose, not a hand.

Shape suffixes: B images, L latents, K nodes, H height, W width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gem_ray.evaluation.ranking import RankedPair
from gem_ray.evaluation.reconstruction import decode_all
from gem_ray.evaluation.traversals import move_node, span
from gem_ray.models.gem import Gem

CANDIDATES = 64
"""Images of which an example takes the one that shows most."""
LEAST_STRENGTH = 0.05
MOST_OF_ONE = 2
"""Examples with the same target."""


@dataclass(frozen=True, kw_only=True)
class Follow:
    """One node moved from low to high in the code of one image; images [3, H, W] in [0, 1].

    Args:
        source, target: names of the related nodes
        strength: of the relation in the DisGraph
        image: which image's code it starts from
        before: with the source low; ``alone`` with it high and the rest held; ``through`` with what follows it
        shifts: [K] how far each node of z_rel is moved by propagation, in its standard deviations over images; NaN for
            the source itself
    """

    source: str
    target: str
    strength: float
    image: int
    before: Tensor
    alone: Tensor
    through: Tensor
    shifts: NDArray[np.float64]


def strong_edges(pairs: Sequence[RankedPair], most: int) -> list[tuple[str, str, float]]:
    """(source, target, strength) of the strongest relations that are more than noise, one for each source."""
    edges = sorted((edge for pair in pairs for edge in (pair.first, pair.second)), key=lambda edge: -abs(edge.strength))
    found: list[tuple[str, str, float]] = []
    targets: Counter[str] = Counter()
    for edge in edges:
        weak = edge.may_be_noise or abs(edge.strength) < LEAST_STRENGTH
        seen = edge.source in {source for source, _, _ in found} or targets[edge.target] == MOST_OF_ONE
        if not (weak or seen or len(found) == most):
            found.append((edge.source, edge.target, edge.strength))
            targets[edge.target] += 1
    return found


def follow_edges(
    model: Gem,
    strength_KK: Tensor,
    mu_BL: Tensor,
    z_rel_BL: Tensor,
    names: Sequence[str],
    edges: Sequence[tuple[str, str, float]],
) -> list[Follow]:
    """An example of each edge, on the image of the first ``CANDIDATES`` in which propagation changes most pixels.

    Args:
        mu_BL, z_rel_BL: codes of the images before and after message passing
    """
    dim = model.config.node_dim
    firsts = [node * dim for node in range(len(names))]
    low, high = span(mu_BL)
    deviation = z_rel_BL[:, firsts].std(dim=0).clamp_min(1e-6)
    found = []
    for source, target, strength in edges:
        node = names.index(source)
        ends = torch.stack([low[node * dim], high[node * dim]])
        start = mu_BL[:CANDIDATES].clone()
        start[:, node * dim] = ends[0]  # both pictures leave from here, where the node is low
        moved = move_node(model, strength_KK, start, node, ends)
        through, alone = decode_all(model, moved.through[:, 1]), decode_all(model, moved.alone[:, 1])
        image = int((through - alone).abs().mean(dim=(1, 2, 3)).argmax())
        rise = moved.through[image, 1, firsts] - moved.through[image, 0, firsts]
        shifts = (rise / deviation).double().numpy()
        shifts[node] = np.nan
        found.append(
            Follow(
                source=source,
                target=target,
                strength=strength,
                image=image,
                before=decode_all(model, moved.through[image, :1])[0],
                alone=alone[image],
                through=through[image],
                shifts=shifts,
            )
        )
    return found
