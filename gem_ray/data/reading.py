"""Verified shards as Arrow tables, read ahead by Ray Data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pyarrow as pa
import ray.data

from gem_ray.data.manifest import Manifest
from gem_ray.data.order import Piece
from gem_ray.data.ray_manners import well_behaved
from gem_ray.data.shards import read_shard
from gem_ray.storage import Storage

READERS = 4


def pieces_dataset(storage: Storage, manifest: Manifest, pieces: Sequence[Piece]) -> ray.data.Dataset:
    """Rows (index int64, pixels fixed-size binary) of the pieces, one after the other.

    Reading waits for storage most of the time and reserves no CPU: workers that hold all of them cannot block it.
    """
    # From memory: the tasks of ``ray.data.range`` would ask for a CPU each.
    numbers = ray.data.from_items([{"id": number} for number in range(len(pieces))], override_num_blocks=len(pieces))
    tasks = numbers.map_batches(
        partial(read_piece, storage=storage, manifest=manifest, pieces=list(pieces)),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=0,
        compute=ray.data.TaskPoolStrategy(size=READERS),
    )
    tasks.context.execution_options.preserve_order = True
    return well_behaved(tasks)


def read_piece(task: pa.Table, storage: Storage, manifest: Manifest, pieces: list[Piece]) -> pa.Table:
    """The records of the pieces named by the column ``id``."""
    tables = []
    for number in task["id"].to_pylist():
        piece = pieces[number]
        records = read_shard(storage, manifest, manifest.shards[piece.shard])
        images = records.images[piece.low : piece.high].reshape(len(piece), -1)
        pixels = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(images.shape[1]), len(piece), [None, pa.py_buffer(images)]
        )
        tables.append(pa.table({"index": pa.array(records.index[piece.low : piece.high]), "pixels": pixels}))
    return pa.concat_tables(tables)
