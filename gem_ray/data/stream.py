"""Training from a stream: a lane reads its stretch of an epoch window by window, and shuffles inside windows."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from gem_ray.data.batch import Batch, to_channels_first
from gem_ray.data.held import HeldImages
from gem_ray.data.manifest import Manifest
from gem_ray.data.order import Piece, lane_pieces, steps_per_epoch, window_order, windows
from gem_ray.data.ray_manners import quiet_ray_data, raising_own_errors
from gem_ray.data.reading import pieces_dataset
from gem_ray.data.shards import pixels_of
from gem_ray.errors import DataError
from gem_ray.storage import Storage


@dataclass
class Window:
    """Some records: rows uint8 [N, H * W * 3], record numbers int64 [N], and how many rows have come so far."""

    rows: torch.Tensor
    index: np.ndarray
    num_filled: int

    @staticmethod
    def empty(manifest: Manifest) -> Window:
        """No records."""
        return Window(torch.empty((0, int(np.prod(manifest.shape))), dtype=torch.uint8), np.zeros(0, np.int64), 0)

    @staticmethod
    def awaited(pieces: list[Piece], manifest: Manifest) -> Window:
        """Room for the records of the pieces, in their order."""
        starts = manifest.starts
        index = np.concatenate([starts[piece.shard] + np.arange(piece.low, piece.high) for piece in pieces])
        return Window(torch.empty((len(index), int(np.prod(manifest.shape))), dtype=torch.uint8), index, 0)

    @property
    def is_full(self) -> bool:
        """Whether all records have come."""
        return self.num_filled == len(self.index)

    def filled(self, table: pa.Table, shape: tuple[int, int, int]) -> pa.Table:
        """Take the next rows from a table; returns what is left of it.

        Raises:
            DataError: other records come than are next
        """
        part = table.slice(0, len(self.index) - self.num_filled)
        place = slice(self.num_filled, self.num_filled + part.num_rows)
        if not np.array_equal(part["index"].to_numpy(), self.index[place]):
            raise DataError(
                f"record {part['index'][0]} came where {self.index[self.num_filled]} was next: the stream is out of "
                "order; use data.ingest=memory, and please report this"
            )
        self.rows[place] = torch.from_numpy(pixels_of(part, shape).reshape(part.num_rows, -1))
        self.num_filled += part.num_rows
        return table.slice(part.num_rows)

    def taken(self, chosen: np.ndarray) -> Window:
        """Some of the records."""
        return Window(self.rows.index_select(0, torch.from_numpy(chosen)), self.index[chosen], len(chosen))

    def joined(self, other: Window) -> Window:
        """These records and then the others."""
        if not self.num_filled:
            return other
        rows, index = torch.cat([self.rows, other.rows]), np.concatenate([self.index, other.index])
        return Window(rows, index, len(index))


class StreamLoader:
    """A ``Loader`` that holds one window of the data at a time."""

    def __init__(
        self,
        storage: Storage,
        manifest: Manifest,
        held: HeldImages,
        *,
        num_train: int,
        batch_size: int,
        window_shards: int,
        seed: int,
        lane: int,
        num_lanes: int,
    ) -> None:
        """
        Args:
            held: of all lanes of this process
            num_train: the first records, which training may use
            batch_size: of all lanes together
            window_shards: shards whose records are shuffled together
        """
        self.image_size = manifest.shape[0]
        self._size = batch_size // num_lanes
        # Stretches differ by one record at most, and the shortest decides for all lanes alike.
        self.steps_per_epoch = steps_per_epoch(num_train // num_lanes, self._size)
        starts = np.minimum(manifest.starts, num_train)
        self._shard_counts = np.diff(starts)
        self._storage, self._manifest, self._held = storage, manifest, held
        self._window_shards, self._seed, self._lane, self._num_lanes = window_shards, seed, lane, num_lanes

    def batches(self, start_step: int) -> Iterator[Batch]:
        """Batches from a step on, for ever; the first costs one window, wherever it begins."""
        first_epoch, first_step = divmod(start_step, self.steps_per_epoch)
        for epoch in itertools.count(first_epoch):
            with closing(self._epoch(epoch, first_step if epoch == first_epoch else 0)) as batches:
                yield from batches

    def _epoch(self, epoch: int, first_step: int) -> Generator[Batch, None, None]:
        ahead = windows(
            lane_pieces(self._shard_counts, self._seed, epoch, self._lane, self._num_lanes), self._window_shards
        )
        sizes = [sum(map(len, window)) for window in ahead]
        ends = np.cumsum(sizes)
        skip = first_step * self._size
        first_window = int(np.searchsorted(ends, skip, side="right"))
        skip -= int(ends[first_window - 1]) if first_window else 0
        left = self.steps_per_epoch - first_step
        carried = Window.empty(self._manifest)
        for number, window in enumerate(self._windows(ahead[first_window:]), first_window):
            order = window_order(len(window.index), self._seed, epoch, self._num_lanes, self._lane, number)
            if number == first_window:
                order = order[skip:]
            position = 0
            # What the window before left over goes first, so that every batch is full.
            while len(carried.index) + len(order) - position >= self._size:
                chosen = order[position : position + self._size - len(carried.index)]
                batch = carried.joined(window.taken(chosen))
                yield Batch(to_channels_first(batch.rows, self._manifest.shape), batch.index)
                position, carried, left = position + len(chosen), Window.empty(self._manifest), left - 1
                if left == 0:
                    return
            carried = carried.joined(window.taken(order[position:]))

    def _windows(self, ahead: list[list[Piece]]) -> Iterator[Window]:
        """Read windows through Ray Data, which works ahead while a window is trained on."""
        pieces = [piece for window in ahead for piece in window]
        expected = iter(ahead)
        with quiet_ray_data(), raising_own_errors():
            tables = pieces_dataset(self._storage, self._manifest, pieces).iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=self._window_shards
            )
            window = Window.awaited(next(expected), self._manifest)
            for table in tables:
                assert isinstance(table, pa.Table)
                while table.num_rows:
                    table = window.filled(table, self._manifest.shape)
                    if window.is_full:
                        yield window
                        following = next(expected, None)
                        if following is None:
                            return
                        window = Window.awaited(following, self._manifest)

    @property
    def max_held(self) -> int:
        """As of ``HeldImages``."""
        return self._held.max_held

    def hold(self, index: np.ndarray) -> Future[None]:
        """Begin to read images of any records, for all lanes of this process."""
        return self._held.hold(index)

    def images(self, index: np.ndarray) -> torch.Tensor:
        """Images of records that are held: uint8 [M, 3, H, W]."""
        return self._held.images(index)
