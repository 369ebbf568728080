"""Prepared data in storage: Parquet shards of fixed-size records, and a manifest that is written last.

A shard holds three kinds of columns: ``item`` (position in the shuffled listing of the source), ``pixels`` (height *
width * 3 bytes, RGB, row by row) and one float32 column by attribute where attributes are known. The manifest holds the
sha256 of every shard; each read fetches the whole shard and checks it before Parquet sees a byte.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gem_ray import telemetry
from gem_ray.errors import DataError
from gem_ray.parquet_bytes import read_table
from gem_ray.storage import Storage
from gem_ray.typed_json import parse_json, typed

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """One shard: its name in the data folder, how many records it holds, and what its bytes must be."""

    name: str
    count: int
    num_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a data folder holds.

    Args:
        shape: height, width, channels of every image
        shards: in the order of the records; record numbers run through all of them from 0
        source: where the images come from, as the user named it
        attributes: names of the attribute columns, None where no attributes are known
        seed: of drawn faces, and of the order of the records
        num_skipped: source images that could not be used (``skipped.json`` lists them)
        settings: every option the shards depend on; a second ``jobs.prepare`` must agree with it
        splits: records of each official split, in the order in which they lie here, the one to train on first; None
            where the source has no splits
        relations: true Somers' D of the attributes [source][target] where it is known exactly; None otherwise
    """

    shape: tuple[int, int, int]
    shards: tuple[ShardEntry, ...]
    source: str
    attributes: tuple[str, ...] | None
    seed: int
    num_skipped: int
    settings: dict[str, Any]
    splits: dict[str, int] | None = None
    relations: tuple[tuple[float, ...], ...] | None = None

    @property
    def count(self) -> int:
        """Records in all."""
        return sum(shard.count for shard in self.shards)

    @property
    def starts(self) -> np.ndarray:
        """Record number of the first record of each shard, and the count behind the last: int64 [shards + 1]."""
        return np.concatenate([[0], np.cumsum([shard.count for shard in self.shards], dtype=np.int64)])

    def num_train(self, holdout: int) -> int:
        """Training may see records [0, this): of the train split alone, and none of the last ``holdout``."""
        train = self.count if self.splits is None else self.splits.get("train", 0)
        return max(0, min(train, self.count - holdout))

    @property
    def num_bytes(self) -> int:
        """Bytes of all pixels."""
        return self.count * self.shape[0] * self.shape[1] * self.shape[2]

    def to_json(self) -> str:
        """As written to storage, with a hash of all the rest."""
        content = {"schema_version": SCHEMA_VERSION, "count": self.count, **asdict(self)}
        return json.dumps({**content, "sha256": content_sha256(content)}, indent=1)


@dataclass(frozen=True)
class Records:
    """Some records: images uint8 [N, H, W, 3], record numbers int64 [N], attributes float32 [N, K] or None."""

    images: np.ndarray
    index: np.ndarray
    attributes: np.ndarray | None


def has_manifest(storage: Storage) -> bool:
    """Whether the folder holds finished data."""
    return storage.exists(MANIFEST)


def write_manifest(storage: Storage, manifest: Manifest) -> None:
    """Write the manifest: from here on the data are complete."""
    storage.write_bytes(MANIFEST, manifest.to_json().encode())


def read_manifest(storage: Storage) -> Manifest:
    """Read and check the manifest.

    Raises:
        DataError: there is none, it is of another schema version, or it contradicts itself
    """
    try:
        text = storage.read_bytes(MANIFEST, _agrees_with_itself)
    except FileNotFoundError as error:
        raise DataError(
            f"no {MANIFEST} in {storage.uri}: the data are missing or not finished; run python -m jobs.prepare "
            "(it goes on where it was stopped)"
        ) from error
    where = f"{storage.uri}/{MANIFEST}"
    try:
        content = parse_json(text)
        version = content.pop("schema_version")
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise DataError(
            f"{where} is not a manifest ({type(error).__name__}: {error}); prepare the data again"
        ) from error
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{where} has schema version {version!r}, this version of gem_ray reads {SCHEMA_VERSION}; prepare the data "
            "again under another data.uri, or use the version of gem_ray that wrote them"
        )
    if content.pop("sha256", None) not in {None, content_sha256({"schema_version": version, **content})}:
        raise DataError(f"{where} is damaged: its content does not have the sha256 it carries; prepare the data again")
    try:
        count = content.pop("count")
        manifest = typed(Manifest, content)
    except (ValueError, KeyError) as error:
        raise DataError(f"{where} is damaged ({type(error).__name__}: {error}); prepare the data again") from error
    if not _consistent(manifest, count):
        raise DataError(
            f"{where} contradicts itself: count {count}, {manifest.count} records in {len(manifest.shards)} shards, "
            f"splits {manifest.splits}, images of {manifest.shape}; prepare the data again"
        )
    return manifest


def content_sha256(content: dict[str, Any]) -> str:
    """Hash of a manifest's JSON content without the hash itself. Data from before there was one carry none."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _agrees_with_itself(text: bytes) -> bool:
    try:
        content = parse_json(text)
        return content.pop("sha256", None) in {None, content_sha256(content)}
    except (ValueError, AttributeError, TypeError):
        return False


def _consistent(manifest: Manifest, count: object) -> bool:
    whole = manifest.splits is None or (
        min(manifest.splits.values(), default=0) >= 0 and sum(manifest.splits.values()) == count
    )
    sizes = [number for shard in manifest.shards for number in (shard.count, shard.num_bytes)]
    sane = min(sizes, default=0) > 0 and min(manifest.shape) > 0 and manifest.shape[2] == 3
    return whole and sane and manifest.count == count


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
        data = storage.read_hashed(entry.name, entry.sha256)
    except FileNotFoundError as error:
        telemetry.add_count("gem_data_shards_damaged", 1)
        raise DataError(
            f"shard {entry.name} of {storage.uri} is missing although the manifest lists it; prepare the data again"
        ) from error
    found = hashlib.sha256(data).hexdigest()
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
