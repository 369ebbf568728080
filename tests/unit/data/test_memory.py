"""Training from memory: records land where their numbers say, and none may be missing."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pyarrow as pa
import pytest
import torch

from gem_ray.data.manifest import Manifest, ShardEntry
from gem_ray.data.memory import MemoryLoader, rows_of
from gem_ray.errors import DataError

SHAPE = (4, 4, 3)


def make_manifest(count: int) -> Manifest:
    entry = ShardEntry(name="shards/00000.parquet", count=count, num_bytes=1, sha256="0" * 64)
    return Manifest(shape=SHAPE, shards=(entry,), source="x", attributes=None, seed=0, num_skipped=0, settings={})


def make_table(index: list[int]) -> pa.Table:
    rows = [bytes([record]) * 48 for record in index]
    return pa.table({"index": pa.array(index, pa.int64()), "pixels": pa.array(rows, pa.binary(48))})


def make_loader(lane: int = 0, num_lanes: int = 1) -> MemoryLoader:
    rows = torch.arange(40, dtype=torch.uint8)[:, None].expand(40, 48).contiguous()
    return MemoryLoader(rows, SHAPE, num_train=33, batch_size=8, seed=1, lane=lane, num_lanes=num_lanes)


def test_rows_are_put_in_order_whatever_order_they_come_in():
    rows = rows_of([make_table([3, 4]), make_table([0, 2, 1])], make_manifest(5))
    assert rows[:, 0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("tables", [[[0, 1, 2]], [[0, 1, 2, 3], [3]]])
def test_a_missing_or_doubled_record_is_an_error(tables):
    with pytest.raises(DataError, match="1 of 4 records were not read exactly once, record 3"):
        rows_of([make_table(index) for index in tables], make_manifest(4))


def test_images_carry_the_pixels_of_their_numbers_channels_last():
    batch = next(make_loader().batches(0))
    assert batch.images.shape == (8, 3, 4, 4)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert (batch.images == torch.from_numpy(batch.index)[:, None, None, None]).all()


def test_an_epoch_uses_each_training_record_at_most_once_and_drops_the_tail():
    loader = make_loader()
    assert loader.steps_per_epoch == 4
    records = [record for batch in islice(loader.batches(0), 4) for record in batch.index]
    assert len(set(records)) == 32
    assert max(records) < 33


def test_resuming_seeks():
    whole = [batch.index.tolist() for batch in islice(make_loader(1, 2).batches(0), 11)]
    assert [batch.index.tolist() for batch in islice(make_loader(1, 2).batches(6), 5)] == whole[6:]
    # A million epochs away it is as quick: nothing is replayed.
    assert len(next(make_loader().batches(4 * 10**6)).index) == 8


def test_held_out_images_can_be_asked_for():
    assert make_loader().images(np.array([39, 0]))[:, 0, 0, 0].tolist() == [39, 0]
