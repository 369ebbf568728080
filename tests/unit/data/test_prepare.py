"""What comes of a shard is counted once, by cause."""

from __future__ import annotations

from gem_ray.data.manifest import ShardEntry
from gem_ray.data.prepare import record_shard
from gem_ray.data.shard_task import ShardDone, Skipped


def test_a_shards_images_bytes_and_bad_records_are_counted(recorded):
    bad = tuple(
        Skipped(f"{cause}-{n}.png", cause, "") for cause, many in (("corrupt", 2), ("empty", 1)) for n in range(many)
    )
    record_shard(ShardDone(0, ShardEntry(name="s", count=5, num_bytes=700, sha256="0"), bad))
    record_shard(ShardDone(1, None, ()))
    assert recorded == [
        ("gem_data_images_prepared", 5.0, {}),
        ("gem_data_bytes_written", 700.0, {}),
        ("gem_data_images_skipped", 2.0, {"cause": "corrupt"}),
        ("gem_data_images_skipped", 1.0, {"cause": "empty"}),
    ]
