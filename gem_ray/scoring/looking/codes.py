"""The newest model of a run, and the codes it gives to images of the data: what pictures of the model start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gem_ray.checkpoint import Checkpoint, load_checkpoint
from gem_ray.config_json import config_from_json
from gem_ray.data.manifest import read_manifest
from gem_ray.data.shards import read_records
from gem_ray.errors import DataError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.models.gem import Gem
from gem_ray.models.restoring import restore_gem
from gem_ray.storage import Storage

NUM_CODES = 512  # images whose codes say how far a node goes: of an attribute that 2 % of them show, about ten
BATCH = 128


class ImageSource(Protocol):
    """Images of the data, numbered from 0 in random order."""

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def read(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Record numbers [N] and images uint8 [N, H, W, 3]."""
        ...


class DataImages:
    """The images of a data set that training may see: all but the held-out ones at its end."""

    def __init__(self, data: Storage, holdout: int) -> None:
        self._data = data
        self._manifest = read_manifest(data)
        self.count = self._manifest.num_train(holdout)

    def read(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """See ``ImageSource``."""
        records = read_records(self._data, self._manifest, start, stop)
        return records.index, records.images


@dataclass(frozen=True)
class NewestModel:
    """A checkpoint, ready to encode and decode on the CPU.

    Args:
        step: of the checkpoint
        graph: the DisGraph that training used at that step
        strength: its strengths [n, n] as a tensor
    """

    step: int
    graph: DisGraph
    model: Gem
    strength: Tensor

    @torch.no_grad()
    def encode(self, images: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        """(mu, logvar) [B, L] of images uint8 [B, H, W, 3]."""
        x = torch.from_numpy(images.copy()).permute(0, 3, 1, 2)
        parts = [self.model.encode(part.float() / 255.0) for part in x.split(BATCH)]
        return torch.cat([mu for mu, _ in parts]), torch.cat([logvar for _, logvar in parts])

    @torch.no_grad()
    def relate(self, z_BL: Tensor) -> Tensor:
        """Codes [B, L] once the graph has acted."""
        return self.model.relate(z_BL, self.strength)

    @torch.no_grad()
    def decode(self, z_rel_BL: Tensor) -> NDArray[np.uint8]:
        """Images uint8 [B, H, W, 3] of codes on which the graph has acted."""
        parts = [self.model.images(self.model.decode(part)) for part in z_rel_BL.split(BATCH)]
        return to_pixels(torch.cat(parts))


def newest_model(run: Storage) -> NewestModel | None:
    """The model of a run's newest complete checkpoint; None where there is none.

    Raises:
        DataError: the checkpoint is damaged, or does not fit its own configuration
    """
    checkpoint = load_checkpoint(run)
    if checkpoint is None:
        return None
    graph = DisGraph.from_json(checkpoint.graph_json)
    return NewestModel(checkpoint.step, graph, load_gem(checkpoint), torch.tensor(graph.strength, dtype=torch.float32))


def load_gem(checkpoint: Checkpoint) -> Gem:
    """The model of a checkpoint, in evaluation mode.

    Raises:
        DataError: its tensors do not fit its configuration
    """
    config = config_from_json(checkpoint.state["config"])
    tensors = {name.removeprefix("gem."): value for name, value in checkpoint.model.items() if name.startswith("gem.")}
    size = int(checkpoint.state["image_size"])
    model = restore_gem(config.model, size, tensors, f"the checkpoint of step {checkpoint.step}")
    # Decodes 1.6 times as fast on a CPU.
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def read_some(images: ImageSource, rng: np.random.Generator, most: int = NUM_CODES) -> NDArray[np.uint8]:
    """Up to ``most`` images that follow each other from a random place; they were shuffled when they were prepared.

    Raises:
        DataError: there is no image
    """
    if images.count < 1:
        raise DataError("the data hold no image that training may see; lower data.holdout or prepare more images")
    start = int(rng.integers(max(0, images.count - most) + 1))
    return images.read(start, min(images.count, start + most))[1]


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """[..., 3, H, W] in [0, 1] to uint8 [..., H, W, 3]."""
    return (images.clamp(0, 1) * 255.0).round().to(torch.uint8).movedim(-3, -1).contiguous().numpy()
