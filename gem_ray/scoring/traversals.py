"""Pictures of what the current model does when one node moves, and the relations that scores of them show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gem_ray.checkpoint import Checkpoint, latest_step, load_checkpoint
from gem_ray.config_json import config_from_json
from gem_ray.errors import DataError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.relations import somers_d
from gem_ray.models.gem import Gem
from gem_ray.models.traversal import traverse
from gem_ray.storage import Storage

FURTHEST = 2.0  # positions of a node, in standard deviations of its prior, to both sides


@dataclass(frozen=True)
class Traversals:
    """Decoded traversals of one checkpoint.

    Args:
        step: of the checkpoint
        graph_version: of the graph it was decoded through
        positions: [T] of the moved node
        nodes: gives for each node in turn images uint8 [B, T, H, W, 3]
    """

    step: int
    graph_version: int
    positions: NDArray[np.float64]
    nodes: Iterator[NDArray[np.uint8]]


class CheckpointTraversals:
    """Draws traversals of a run's newest checkpoint, on the CPU with one thread."""

    def __init__(self, run: Storage, num_positions: int) -> None:
        self._run, self._num_positions = run, num_positions

    def newest_step(self) -> int | None:
        """Step of the newest complete checkpoint."""
        return latest_step(self._run)

    def draw(self, images: NDArray[np.uint8]) -> Traversals | None:
        """Traversals from the codes of some images, uint8 [B, H, W, 3]; None where there is no checkpoint.

        Raises:
            DataError: the checkpoint is damaged, or does not fit its own configuration
        """
        checkpoint = load_checkpoint(self._run)
        if checkpoint is None:
            return None
        model = load_gem(checkpoint)
        graph = DisGraph.from_json(checkpoint.graph_json)
        positions = np.linspace(-FURTHEST, FURTHEST, self._num_positions)
        x = torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float() / 255.0
        with torch.no_grad():
            z = model.encode(x)[0]
        nodes = (
            _to_pixels(
                traverse(
                    model, torch.tensor(graph.strength, dtype=torch.float32), z, node, torch.tensor(positions).float()
                )
            )
            for node in range(len(graph.attributes))
        )
        return Traversals(checkpoint.step, graph.version, positions, nodes)


def load_gem(checkpoint: Checkpoint) -> Gem:
    """The model of a checkpoint, in evaluation mode.

    Raises:
        DataError: its tensors do not fit its configuration
    """
    config = config_from_json(checkpoint.state["config"])
    model = Gem(config.model, int(checkpoint.state["image_size"])).eval()
    tensors = {name.removeprefix("gem."): value for name, value in checkpoint.model.items() if name.startswith("gem.")}
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError(
            f"the checkpoint of step {checkpoint.step} does not fit its own configuration: {error}"
        ) from error
    return model


def shown_relations(probabilities: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How strongly each attribute's score follows the position of one moved node.

    Somers' D of the digits given the position, from the expected contingency table whose rows are the positions
    (crisp) and whose columns are the digits; its standard error is a jackknife over the start images.

    Args:
        probabilities: [B, T, n, 6] digit distributions of B start images at T ascending positions; NaN where missing

    Returns:
        strength [n] in [-1, 1] and standard error [n]; 0 and infinity where fewer than two images are known
    """
    num_images = probabilities.shape[0]
    # [B, n]: an image counts where all its positions are known.
    known: NDArray[np.bool_] = np.logical_not(np.isnan(probabilities[..., 0]).any(axis=1))
    tables = np.where(known[:, None, :, None], probabilities, 0.0).transpose(0, 2, 1, 3)  # [B, n, T, 6]
    total = tables.sum(axis=0)
    strength = somers_d(total)
    left_out = somers_d(total[None] - tables)  # [B, n]
    count = known.sum(axis=0)
    mean = np.where(known, left_out, 0.0).sum(axis=0) / np.maximum(count, 1)
    square = (np.where(known, left_out - mean, 0.0) ** 2).sum(axis=0)
    error = np.sqrt(square * (count - 1) / np.maximum(count, 1))
    defined = (count >= 2) & (num_images >= 2)
    return np.where(defined, strength, 0.0), np.where(defined, error, np.inf)


def _to_pixels(images: torch.Tensor) -> NDArray[np.uint8]:
    pixels = (images.clamp(0, 1) * 255.0).round().to(torch.uint8)
    return pixels.permute(0, 1, 3, 4, 2).contiguous().numpy()
