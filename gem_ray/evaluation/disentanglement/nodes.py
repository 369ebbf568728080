"""One number per node: the metrics are of scalar codes, and a node of the DisGraph may have several dimensions.

Each node is reduced to its first principal component, as DisDiff does for its concept tokens. Scores of reduced nodes
are not those of the scalar protocol and are not to be compared with published ones of scalar latents: the reduction
throws away what lies across the component, and mixes what lies along it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import DataError
from gem_ray.evaluation.disentanglement.points import checked_codes


@dataclass(frozen=True)
class NodeReduction:
    """Projection of the first K x D latents to K numbers, learned on train points; the rest pass through.

    Args:
        mean: [K, D]
        direction: [K, D] unit vectors, the entry that is greatest in size positive
    """

    mean: NDArray[np.float64]
    direction: NDArray[np.float64]

    @classmethod
    def fit(cls, latents: NDArray[np.floating], num_nodes: int, node_dim: int) -> NodeReduction:
        """Learn the directions from latents [N, K x D + R]. A dead node keeps its first dimension.

        Raises:
            DataError: fewer latents than K x D, or values that are not finite
        """
        latents = checked_codes(latents)
        if latents.shape[1] < num_nodes * node_dim:
            raise DataError(f"{latents.shape[1]} latents are fewer than {num_nodes} nodes x {node_dim} dimensions")
        nodes = latents[:, : num_nodes * node_dim].reshape(len(latents), num_nodes, node_dim)
        mean = nodes.mean(axis=0)
        direction = np.stack([_first_component(nodes[:, k] - mean[k]) for k in range(num_nodes)])
        return cls(mean, direction)

    def __call__(self, latents: NDArray[np.floating]) -> NDArray[np.float64]:
        """Codes [N, K + R] of latents [N, K x D + R]; nodes of one dimension pass through as they are."""
        latents = checked_codes(latents)
        num_nodes, node_dim = self.mean.shape
        if node_dim == 1:
            return latents
        split = num_nodes * node_dim
        nodes = latents[:, :split].reshape(len(latents), num_nodes, node_dim) - self.mean
        return np.concatenate([np.einsum("nkd,kd->nk", nodes, self.direction), latents[:, split:]], axis=1)


def _first_component(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.ptp(centred, axis=0).any():
        return np.eye(centred.shape[1])[0]
    direction: NDArray[np.float64] = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    return -direction if direction[np.abs(direction).argmax()] < 0 else direction
