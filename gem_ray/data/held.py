"""Images of chosen records, read ahead of their use: what a streaming run aligns with the MLLM's scores."""

from __future__ import annotations

from collections import ChainMap
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from gem_ray.data.batch import to_channels_first
from gem_ray.data.manifest import Manifest
from gem_ray.data.shards import read_shard
from gem_ray.storage import Storage

CACHE_BYTES = 512 << 20


class HeldImages:
    """The images asked for last, and those asked for before; one of these serves all lanes of a process.

    Args:
        max_held: records that can be asked for at a time, ``CACHE_BYTES`` of pixels
    """

    def __init__(self, storage: Storage, manifest: Manifest) -> None:
        self.max_held = max(1, CACHE_BYTES // int(np.prod(manifest.shape)))
        self._storage, self._manifest = storage, manifest
        # Those asked for before are in use until the others are all there. A score table grows, so both share rows.
        self._rows: ChainMap[int, torch.Tensor] = ChainMap({}, {})
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="held-images")

    def hold(self, index: np.ndarray) -> Future[None]:
        """Begin to read the images of these records, at most ``max_held``; each shard is read once.

        Raises:
            DataError, StorageError: from the future, as ``read_shard``
        """
        return self._reader.submit(self._read, index)

    def images(self, index: np.ndarray) -> torch.Tensor:
        """Images of records that were asked for and have come: uint8 [M, 3, H, W]."""
        held = self._rows
        return to_channels_first(torch.stack([held[record] for record in index.tolist()]), self._manifest.shape)

    def _read(self, index: np.ndarray) -> None:
        before = self._rows.maps[0]
        rows = {record: before[record] for record in index.tolist() if record in before}
        missing = np.array([record for record in index.tolist() if record not in rows], np.int64)
        shards = np.searchsorted(self._manifest.starts, missing, side="right") - 1
        for shard in np.unique(shards).tolist():
            images = read_shard(self._storage, self._manifest, self._manifest.shards[shard]).images
            for record in missing[shards == shard].tolist():
                image = images[record - int(self._manifest.starts[shard])]
                rows[record] = torch.from_numpy(image.reshape(-1).copy())
        self._rows = ChainMap(rows, before)
