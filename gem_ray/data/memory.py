"""Training from memory: every record in one tensor, batches gathered by a global shuffle."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import torch

from gem_ray.data.batch import Batch, to_channels_first
from gem_ray.data.manifest import Manifest
from gem_ray.data.order import epoch_order, lane_batch, steps_per_epoch
from gem_ray.data.shards import pixels_of
from gem_ray.errors import DataError


class MemoryLoader:
    """A ``Loader`` over records held in this process."""

    def __init__(
        self,
        rows: torch.Tensor,
        shape: tuple[int, int, int],
        *,
        num_train: int,
        batch_size: int,
        seed: int,
        lane: int,
        num_lanes: int,
    ) -> None:
        """
        Args:
            rows: uint8 [N, H * W * 3], row i is record i
            shape: height, width, channels
            num_train: the first records, which training may use
            batch_size: of all lanes together
        """
        self.image_size = shape[0]
        self.steps_per_epoch = steps_per_epoch(num_train, batch_size)
        self._rows, self._shape, self._num_train = rows, shape, num_train
        self._batch_size, self._seed = batch_size, seed
        self._lane, self._num_lanes = lane, num_lanes

    def batches(self, start_step: int) -> Iterator[Batch]:
        """Batches from a step on, for ever."""
        epoch, order = -1, np.zeros(0, np.int64)
        for step in itertools.count(start_step):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                order = epoch_order(self._num_train, self._seed, epoch)
            index = lane_batch(order, step % self.steps_per_epoch, self._batch_size, self._lane, self._num_lanes)
            yield Batch(self.images(index), index)

    @property
    def max_held(self) -> int:
        """All records are held."""
        return len(self._rows)

    def hold(self, index: np.ndarray) -> None:
        """Nothing to wait for."""

    def images(self, index: np.ndarray) -> torch.Tensor:
        """Images of any records: uint8 [M, 3, H, W]."""
        return to_channels_first(self._rows.index_select(0, torch.from_numpy(index)), self._shape)


def rows_of(tables: Iterable[pa.Table], manifest: Manifest) -> torch.Tensor:
    """All records of a data set in their order: uint8 [N, H * W * 3].

    Args:
        tables: with the columns ``index`` and ``pixels``, in any order

    Raises:
        DataError: a record is missing or comes twice
    """
    rows = np.empty((manifest.count, int(np.prod(manifest.shape))), np.uint8)
    seen = np.zeros(manifest.count, np.int64)
    for table in tables:
        index = table["index"].to_numpy()
        rows[index] = pixels_of(table, manifest.shape).reshape(len(index), -1)
        seen[index] += 1
    wrong = np.flatnonzero(seen != 1)
    if wrong.size:
        raise DataError(
            f"{wrong.size} of {manifest.count} records were not read exactly once, record {wrong[0]} for one; "
            "run the same command again, and report it if it happens twice"
        )
    return torch.from_numpy(rows)
