"""Pictures of what the current model does when one node moves, and the effects that scores of them show.

A node goes over the range that its codes of real images take, in even steps; each step counts by the share of images
whose code lies nearest to it. A fixed range would not do: a code of a bald face lies seven standard deviations out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit

from gem_ray.checkpoint import latest_step
from gem_ray.graph.layers import TYPICAL_STRENGTH
from gem_ray.graph.relations import somers_d
from gem_ray.models.traversal import traverse
from gem_ray.scoring.looking.codes import ImageSource, newest_model, read_some, to_pixels
from gem_ray.storage import Storage

TAIL = 0.01  # the ends of a node's range: the mean of its codes of this share of the images at either end
UNSEEN_EFFECT = TYPICAL_STRENGTH
"""Effect that one further start image of a kind not yet seen may show. With a few start images the most telling kind
(the bearded) is often not among them, and all agree on 0: without this the error would be 0 too."""


@dataclass(frozen=True)
class Traversals:
    """Decoded traversals of one checkpoint.

    Args:
        step: of the checkpoint
        graph_version: of the graph it was decoded through
        positions: [m, T], ascending, of each moved node
        nodes: gives for each moved node in turn images uint8 [B, T, H, W, 3]
        weights: [m, T], share of the data's images whose code lies nearest to each position; None for even shares
    """

    step: int
    graph_version: int
    positions: NDArray[np.float64]
    nodes: Iterator[NDArray[np.uint8]]
    weights: NDArray[np.float64] | None = None


class CheckpointTraversals:
    """Draws traversals of a run's newest checkpoint, on the CPU.

    Args:
        run: the run's folder
        num_positions: T
        images: of the data, whose codes say how far each node goes
    """

    def __init__(self, run: Storage, num_positions: int, images: ImageSource) -> None:
        self._run, self._num_positions, self._images = run, num_positions, images

    def newest_step(self) -> int | None:
        """Step of the newest complete checkpoint."""
        return latest_step(self._run)

    def draw(self, images: NDArray[np.uint8], nodes: Sequence[int] | None = None) -> Traversals | None:
        """Traversals from the codes of some images, uint8 [B, H, W, 3]; None where there is no checkpoint.

        Args:
            nodes: which nodes to move, in this order; None for all

        Raises:
            DataError: the checkpoint is damaged, or does not fit its own configuration; or there are no images
        """
        newest = newest_model(self._run)
        if newest is None:
            return None
        moved = range(len(newest.graph.attributes)) if nodes is None else nodes
        width = newest.model.config.node_dim
        codes = newest.encode(read_some(self._images, np.random.default_rng([newest.step, 6])))[0].double().numpy()
        ranges = [positions_of(codes[:, node * width], self._num_positions) for node in moved]
        start = newest.encode(images)[0]
        pictures = (
            to_pixels(traverse(newest.model, newest.strength, start, node, torch.tensor(positions).float()))
            for node, (positions, _) in zip(moved, ranges)
        )
        shape = (len(ranges), self._num_positions)
        return Traversals(
            newest.step,
            newest.graph.version,
            np.array([positions for positions, _ in ranges]).reshape(shape),
            pictures,
            np.array([weights for _, weights in ranges]).reshape(shape),
        )


def positions_of(codes: NDArray[np.float64], num_positions: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Even positions [T] over the range of a node's codes [N], and the share [T] of the codes nearest to each."""
    ordered = np.sort(codes)
    ends = max(1, round(TAIL * len(codes)))
    positions = np.linspace(ordered[:ends].mean(), ordered[-ends:].mean(), num_positions)
    nearest = np.searchsorted((positions[1:] + positions[:-1]) / 2, codes)
    return positions, np.bincount(nearest, minlength=num_positions) / len(codes)


def shown_relations(
    probabilities: NDArray[np.float64], weights: NDArray[np.float64] | None = None, own: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How strongly each attribute's score follows the position of one moved node.

    Somers' D of the digits given the position, from the expected contingency table whose rows are the positions
    (crisp) and whose columns are the digits. It is the effect of the node alone, everything else in the code held: the
    part of a relation that graph and decoder carry, not the association in the data.

    The standard error is a jackknife over the start images, widened to Student's t of so many images (two errors mean
    95 %) and by ``UNSEEN_EFFECT`` of one further image.

    Args:
        probabilities: [B, T, n, 6] digit distributions of B start images at T ascending positions; NaN where missing
        weights: [T] share of the data at each position, None for even shares
        own: the attribute that the node is named after; where its score does not clearly follow the position the node
            says nothing of that attribute's relations, and none is known. None where the node has no name

    Returns:
        strength [n] in [-1, 1] and standard error [n]; 0 and infinity where nothing is known, as with fewer than two
        images
    """
    num_positions = probabilities.shape[1]
    shares = np.full(num_positions, 1.0 / num_positions) if weights is None else weights
    # [B, n]: an image counts where all its positions are known.
    known: NDArray[np.bool_] = np.logical_not(np.isnan(probabilities[..., 0]).any(axis=1))
    tables = np.where(known[:, None, :, None], probabilities, 0.0).transpose(0, 2, 1, 3)  # [B, n, T, 6]
    tables = tables * shares[:, None]
    total = tables.sum(axis=0)
    strength = somers_d(total)
    left_out = somers_d(total[None] - tables)  # [B, n]
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, left_out, 0.0).sum(axis=0) / count
    square = (np.where(known, left_out - mean, 0.0) ** 2).sum(axis=0)
    variance = square * (count - 1) / count + (UNSEEN_EFFECT / count) ** 2
    error = np.sqrt(variance) * stdtrit(np.maximum(count - 1, 1), 0.975) / 1.96
    defined = count >= 2
    if own is not None:
        defined = defined & (strength[own] > 2 * error[own]) & defined[own]
    return np.where(defined, strength, 0.0), np.where(defined, error, np.inf)
