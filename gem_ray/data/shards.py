"""Prepared data in storage: Parquet shards of fixed-size records, listed in a manifest (``manifest``).

A shard holds three kinds of columns: ``item`` (position in the shuffled listing of the source), ``pixels`` (height *
width * 3 bytes, RGB, row by row) and one float32 column by attribute where attributes are known. The manifest holds the
sha256 of every shard; each read fetches the whole shard and checks it before Parquet sees a byte.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gem_ray import telemetry
from gem_ray.data.manifest import Manifest, ShardEntry
from gem_ray.errors import DataError
from gem_ray.parquet_bytes import read_table
from gem_ray.storage import Storage


@dataclass(frozen=True)
class Records:
    """Some records: images uint8 [N, H, W, 3], record numbers int64 [N], attributes float32 [N, K] or None."""

    images: np.ndarray
    index: np.ndarray
    attributes: np.ndarray | None


def encode_shard(images: np.ndarray, items: np.ndarray, attributes: np.ndarray | None, names: Sequence[str]) -> bytes:
    """Parquet bytes of some records, always the same for the same records.

    Args:
        images: uint8 [N, H, W, 3]
        items: int64 [N], positions in the listing of the source
        attributes: float [N, K], or None
        names: K names of the attributes
    """
    pixels = np.ascontiguousarray(images).reshape(len(images), -1)
    width = pixels.shape[1]
    buffer = pa.py_buffer(pixels)
    columns: dict[str, pa.Array] = {
        "item": pa.array(items, pa.int64()),
        "pixels": pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(images), [None, buffer]),
    }
    if attributes is not None:
        for column, name in enumerate(names):
            columns[f"attribute:{name}"] = pa.array(attributes[:, column], pa.float32())
    sink = io.BytesIO()
    # Pixels do not compress, and a dictionary of them would double the work.
    pq.write_table(pa.table(columns), sink, compression="none", use_dictionary=False, write_statistics=False)
    return sink.getvalue()


def read_shard(storage: Storage, manifest: Manifest, entry: ShardEntry) -> Records:
    """Read one shard whole and check its hash.

    Raises:
        DataError: the shard is missing, its bytes are not those that were written, or it is not of this data set
    """
    position = manifest.shards.index(entry)
    try:
        data, found = storage.read_hashed(entry.name, entry.sha256)
    except FileNotFoundError as error:
        telemetry.add_count("gem_data_shards_damaged", 1)
        raise DataError(
            f"shard {entry.name} of {storage.uri} is missing although the manifest lists it; prepare the data again"
        ) from error
    if found != entry.sha256:
        telemetry.add_count("gem_data_shards_damaged", 1)
        raise DataError(
            f"shard {entry.name} of {storage.uri} is damaged: sha256 {found[:12]}..., {len(data):,} bytes; manifest: "
            f"{entry.sha256[:12]}..., {entry.num_bytes:,} bytes. Restore the file, or prepare the data again"
        )
    telemetry.add_count("gem_data_bytes_read", len(data))
    names = manifest.attributes or ()
    table = read_table(
        data, f"shard {entry.name} of {storage.uri}", ["pixels", *(f"attribute:{name}" for name in names)]
    )
    images = pixels_of(table, manifest.shape)
    if len(images) != entry.count:
        raise DataError(f"shard {entry.name} holds {len(images)} records, the manifest says {entry.count}")
    attributes = np.stack([table[f"attribute:{name}"].to_numpy() for name in names], axis=1) if names else None
    start = int(manifest.starts[position])
    return Records(images, np.arange(start, start + len(images), dtype=np.int64), attributes)


def pixels_of(table: pa.Table, shape: tuple[int, int, int]) -> np.ndarray:
    """The ``pixels`` column as uint8 [N, H, W, 3], without copying where the column is one chunk.

    Raises:
        DataError: records of another size
    """
    column = table["pixels"].combine_chunks()
    chunk = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    width = int(np.prod(shape))
    if chunk.type != pa.binary(width):
        raise DataError(f"records hold {chunk.type}, {shape} needs {width} bytes; prepare the data again")
    flat = np.frombuffer(chunk.buffers()[1], np.uint8)[chunk.offset * width : (chunk.offset + len(chunk)) * width]
    return flat.reshape(len(chunk), *shape)


def read_records(storage: Storage, manifest: Manifest, start: int, stop: int) -> Records:
    """Records [start, stop), reading only the shards they lie in.

    Raises:
        DataError: a range outside the data, or a damaged shard
    """
    if not 0 <= start <= stop <= manifest.count:
        raise DataError(f"records {start} to {stop} are not all in {storage.uri}, which holds {manifest.count:,}")
    parts = list(_parts(storage, manifest, start, stop))
    names = manifest.attributes
    if not parts:
        empty = np.zeros((0, *manifest.shape), np.uint8)
        return Records(empty, np.zeros(0, np.int64), None if names is None else np.zeros((0, len(names)), np.float32))
    attributes = [part.attributes for part in parts if part.attributes is not None]
    return Records(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.index for part in parts]),
        np.concatenate(attributes) if attributes else None,
    )


def _parts(storage: Storage, manifest: Manifest, start: int, stop: int) -> Iterator[Records]:
    starts = manifest.starts
    for position, entry in enumerate(manifest.shards):
        low, high = max(start, int(starts[position])), min(stop, int(starts[position + 1]))
        if low < high:
            records = read_shard(storage, manifest, entry)
            part = slice(low - int(starts[position]), high - int(starts[position]))
            attributes = None if records.attributes is None else records.attributes[part]
            yield Records(records.images[part], records.index[part], attributes)
