"""What codes of real images are like: the units of an edit, the range of a traversal, and what samples are drawn from.

Two thousand numbers by latent say more than a mean and a deviation would, and travel with a saved model (a third of a
megabyte), which then needs no data.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gem_ray.config import StorageConfig
from gem_ray.errors import DataError
from gem_ray.evaluation.traversals import span
from gem_ray.storage import Storage

NUM_IMAGES = 1024
PRIOR = "prior"


@dataclass(frozen=True)
class ReferenceCodes:
    """Codes of images that the model was trained on.

    Args:
        mu, logvar: [N, L], q(z | x)
        z_rel: [N, L], the means once the graph has acted
        source: where the images come from, in words
    """

    mu: Tensor
    logvar: Tensor
    z_rel: Tensor
    source: str

    @property
    def deviation(self) -> Tensor:
        """[L], standard deviation of each latent's means over the images: the unit of an edit."""
        return self.mu.std(dim=0, correction=0)

    @property
    def deviation_rel(self) -> Tensor:
        """[L], the same once the graph has acted."""
        return self.z_rel.std(dim=0, correction=0)

    def span(self, latent: int) -> tuple[float, float]:
        """(low, high) of a latent's means, as in the traversals of the report."""
        low, high = span(self.mu[:, latent : latent + 1])
        return float(low), float(high)


@dataclass(frozen=True)
class RunData:
    """The prepared data of a run: where they are, and how many images at their end are held out."""

    uri: str
    holdout: int
    storage: StorageConfig

    def training_images(self, count: int, image_size: int) -> Tensor:
        """Up to ``count`` images that training saw, uint8 [N, 3, H, W]; they were shuffled when they were prepared."""
        return self._read(0, count, image_size)

    def held_out_images(self, first: int, count: int, image_size: int) -> Tensor:
        """Images that training never saw, uint8 [N, 3, H, W], counted from the first of them."""
        if not 0 <= first < self.holdout:
            raise DataError(f"image {first} is not held out: {self.holdout} are, numbered from 0")
        return self._read(-self.holdout + first, count, image_size)

    def _read(self, first: int, count: int, image_size: int) -> Tensor:
        """Images from record ``first`` on; a negative one is counted from the end of the data."""
        # Reads Parquet, which a saved model has no need of.
        from gem_ray.data.manifest import read_manifest
        from gem_ray.data.shards import read_records

        storage = Storage(self.uri, self.storage)
        manifest = read_manifest(storage)
        if manifest.shape[0] != image_size:
            raise DataError(
                f"{self.uri} holds images of side {manifest.shape[0]}, the model was trained on {image_size}; "
                "give the data of the run"
            )
        training = manifest.num_train(self.holdout)
        start, end = (first, training) if first >= 0 else (manifest.count + first, manifest.count)
        stop = min(start + count, end)
        if not 0 <= start < stop:
            raise DataError(
                f"{self.uri} has {training:,} images for training and {self.holdout:,} held out; "
                f"records {start} to {start + count} are none of those asked for"
            )
        return torch.from_numpy(read_records(storage, manifest, start, stop).images).permute(0, 3, 1, 2)


def prior_codes(latent_dim: int) -> tuple[Tensor, Tensor]:
    """(mu, logvar) [N, L] as the prior has them: standard normal to the last moment, each point without noise."""
    draws = torch.randn(NUM_IMAGES, latent_dim, generator=torch.Generator().manual_seed(0))
    mu = (draws - draws.mean(dim=0)) / draws.std(dim=0, correction=0)
    return mu, torch.full_like(mu, -float("inf"))
