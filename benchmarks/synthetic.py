"""Data folders of random pixels, written straight as shards: what benchmarks of reading need, in seconds."""

from __future__ import annotations

import hashlib

import numpy as np

from gem_ray.data.held import HeldImages
from gem_ray.data.manifest import Manifest, ShardEntry, write_manifest
from gem_ray.data.shards import encode_shard
from gem_ray.data.stream import StreamLoader
from gem_ray.storage import Storage


def write_random_shards(data: Storage, num_shards: int, per_shard: int, side: int) -> Manifest:
    """Shards of random images [side, side, 3] with their manifest."""
    entries = []
    for number in range(num_shards):
        pixels = np.random.default_rng(number).bytes(per_shard * side * side * 3)
        images = np.frombuffer(pixels, np.uint8).reshape(per_shard, side, side, 3)
        items = np.arange(number * per_shard, (number + 1) * per_shard)
        shard = encode_shard(images, items, None, ())
        name = f"shard-{number:05d}.parquet"
        data.write_bytes(name, shard)
        digest = hashlib.sha256(shard).hexdigest()
        entries.append(ShardEntry(name=name, count=per_shard, num_bytes=len(shard), sha256=digest))
    manifest = Manifest(
        shape=(side, side, 3),
        shards=tuple(entries),
        source="random pixels",
        attributes=None,
        seed=0,
        num_skipped=0,
        settings={},
    )
    write_manifest(data, manifest)
    return manifest


def single_stream(data: Storage, manifest: Manifest, batch_size: int) -> StreamLoader:
    """The stream of a single worker over all records."""
    return StreamLoader(
        data,
        manifest,
        HeldImages(data, manifest),
        num_train=manifest.count,
        batch_size=batch_size,
        window_shards=4,
        seed=0,
        lane=0,
        num_lanes=1,
    )
