"""Shards: what is written is read back, and anything else is an error that says what and what to do."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from gem_ray.config import StorageConfig
from gem_ray.data.manifest import Manifest, ShardEntry, read_manifest, write_manifest
from gem_ray.data.shards import encode_shard, read_records, read_shard
from gem_ray.errors import DataError, StorageError
from gem_ray.storage import Storage

SHAPE, NAMES, COUNTS = (8, 8, 3), ("bangs", "male"), (5, 7, 3)


def make_data(folder, attributes: bool = True) -> tuple[Storage, Manifest, np.ndarray, np.ndarray]:
    """Three shards and a manifest; also all images and attributes."""
    storage, rng = Storage(str(folder), StorageConfig()), np.random.default_rng(0)
    images = rng.integers(0, 256, (sum(COUNTS), *SHAPE), dtype=np.uint8)
    values = rng.random((len(images), len(NAMES))).astype(np.float32)
    entries, start = [], 0
    for number, count in enumerate(COUNTS):
        part = slice(start, start + count)
        data = encode_shard(images[part], np.arange(start, start + count), values[part] if attributes else None, NAMES)
        name = f"shards/{number:05d}.parquet"
        storage.write_bytes(name, data)
        digest = hashlib.sha256(data).hexdigest()
        entries.append(ShardEntry(name=name, count=count, num_bytes=len(data), sha256=digest))
        start += count
    manifest = Manifest(
        shape=SHAPE,
        shards=tuple(entries),
        source="test",
        attributes=NAMES if attributes else None,
        seed=4,
        num_skipped=1,
        settings={"image_size": 8},
    )
    write_manifest(storage, manifest)
    return storage, manifest, images, values


def test_a_shard_is_read_back_with_its_record_numbers(tmp_path):
    storage, manifest, images, values = make_data(tmp_path)
    records = read_shard(storage, manifest, manifest.shards[1])
    assert np.array_equal(records.images, images[5:12])
    assert records.index.tolist() == list(range(5, 12))
    assert np.array_equal(records.attributes, values[5:12])


def test_data_without_attributes_have_none(tmp_path):
    storage, manifest, _, _ = make_data(tmp_path, attributes=False)
    assert read_manifest(storage).attributes is None
    assert read_records(storage, manifest, 0, 15).attributes is None
    assert read_records(storage, manifest, 3, 3).attributes is None


@pytest.mark.parametrize(("start", "stop"), [(0, 15), (3, 13), (5, 12), (12, 15), (6, 6), (14, 15)])
def test_a_range_of_records_may_span_shards(tmp_path, start, stop):
    storage, manifest, images, values = make_data(tmp_path)
    records = read_records(storage, manifest, start, stop)
    assert np.array_equal(records.images, images[start:stop])
    assert np.array_equal(records.attributes, values[start:stop])
    assert records.index.tolist() == list(range(start, stop))


def test_a_range_reads_only_the_shards_it_lies_in(tmp_path):
    storage, manifest, images, _ = make_data(tmp_path)
    storage.delete(manifest.shards[0].name)
    assert np.array_equal(read_records(storage, manifest, 5, 15).images, images[5:])


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (4, 3), (0, 16)])
def test_a_range_outside_the_data_is_refused(tmp_path, start, stop):
    storage, manifest, _, _ = make_data(tmp_path)
    with pytest.raises(DataError, match=f"records {start} to {stop} .* holds 15"):
        read_records(storage, manifest, start, stop)


def test_the_same_records_give_the_same_bytes():
    images = np.arange(2 * 192, dtype=np.uint32).astype(np.uint8).reshape(2, *SHAPE)
    first, second = (encode_shard(images, np.arange(2), None, ()) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_one_flipped_bit_anywhere_is_found(tmp_path, place):
    storage, manifest, _, _ = make_data(tmp_path)
    entry = manifest.shards[1]
    data = bytearray(storage.read_bytes(entry.name))
    data[{"first": 0, "middle": len(data) // 2, "last": -1}[place]] ^= 1
    storage.write_bytes(entry.name, bytes(data))
    with pytest.raises(DataError, match=r"shards/00001\.parquet .* damaged: sha256 .* prepare the data again"):
        read_records(storage, manifest, 0, 15)


def test_a_truncated_shard_is_found(tmp_path):
    storage, manifest, _, _ = make_data(tmp_path)
    data = storage.read_bytes(manifest.shards[2].name)
    storage.write_bytes(manifest.shards[2].name, data[:-10])
    with pytest.raises(DataError, match="damaged"):
        read_shard(storage, manifest, manifest.shards[2])


def test_a_missing_shard_is_named(tmp_path):
    storage, manifest, _, _ = make_data(tmp_path)
    storage.delete(manifest.shards[0].name)
    with pytest.raises(DataError, match=r"shards/00000\.parquet .* is missing although the manifest lists it"):
        read_shard(storage, manifest, manifest.shards[0])


def test_shards_swapped_in_the_manifest_do_not_pass(tmp_path, rewrite_manifest):
    storage, manifest, _, _ = make_data(tmp_path)
    swapped = json.loads(manifest.to_json())["shards"]
    swapped[0]["name"], swapped[1]["name"] = swapped[1]["name"], swapped[0]["name"]
    rewrite_manifest(storage, shards=swapped)
    with pytest.raises(DataError, match="damaged"):
        read_records(storage, read_manifest(storage), 0, 1)


@pytest.mark.parametrize("name", ["../outside.parquet", "/etc/passwd", "shards/../../x", "s3://other/x", "a\\b"])
def test_a_shard_name_cannot_leave_the_folder(tmp_path, rewrite_manifest, name):
    storage, manifest, _, _ = make_data(tmp_path / "data")
    (tmp_path / "outside.parquet").write_bytes(storage.read_bytes(manifest.shards[0].name))
    shards = json.loads(manifest.to_json())["shards"]
    shards[0]["name"] = name
    rewrite_manifest(storage, shards=shards)
    with pytest.raises(StorageError, match="is not a name inside"):
        read_records(storage, read_manifest(storage), 0, 1)


def test_records_of_another_size_than_the_manifest_says_are_refused(tmp_path, rewrite_manifest):
    storage, _, _, _ = make_data(tmp_path)
    rewrite_manifest(storage, shape=[16, 8, 3])
    with pytest.raises(DataError, match="needs 384 bytes"):
        read_records(storage, read_manifest(storage), 0, 1)
