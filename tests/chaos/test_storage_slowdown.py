"""What faults of S3 cost in time: an epoch of shards of the usual size takes at most three times as long.

Every kind of fault is timed in turn with a clean line, pauses between tries as they are. Control: over shards of 48 kB,
whose transfer is nothing beside a pause, the same faults cost more.
"""

from __future__ import annotations

import json
import statistics
import time

import pytest

from benchmarks.synthetic import write_random_shards
from gem_ray.config import StorageConfig
from gem_ray.data.manifest import Manifest, read_manifest
from gem_ray.data.shards import read_records
from gem_ray.storage import Storage
from kit.proxy import fault_proxy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
FAULTS = {"slow_down": 0.3, "reset": 0.2, "cut": 0.2, "flip": 0.2}
ROUNDS, MOST = 9, 3.0
SHARDS, SIDE = 8, 64
LARGE, SMALL = 1024, 4  # images of a shard: 12.6 MB, 48 kB


def at(endpoint: str, per_shard: int) -> Storage:
    return Storage(f"s3://chaos/slowdown-{per_shard}", StorageConfig(endpoint_url=endpoint))


def epoch_s(endpoint: str, manifest: Manifest, per_shard: int) -> float:
    """Every shard, read, verified and decoded, one after the other."""
    began = time.monotonic()
    for shard in range(SHARDS):
        records = read_records(at(endpoint, per_shard), manifest, shard * per_shard, (shard + 1) * per_shard)
        assert len(records.images) == per_shard
    return time.monotonic() - began


def slowdown(endpoint: str, kind: str, per_shard: int) -> float:
    """The median of epochs with faults over that of epochs without, in turn."""
    write_random_shards(at(endpoint, per_shard), SHARDS, per_shard, SIDE)
    manifest = read_manifest(at(endpoint, per_shard))
    epoch_s(endpoint, manifest, per_shard)
    times, faults = [], 0
    for seed in range(ROUNDS):
        with fault_proxy(endpoint, seed) as clean, fault_proxy(endpoint, seed, **{kind: FAULTS[kind]}) as faulty:
            times.append([epoch_s(proxy.url, manifest, per_shard) for proxy in (clean, faulty)])
        assert not clean.counts
        faults += faulty.counts[kind]
    assert faults >= ROUNDS, f"{faults} faults in {ROUNDS} epochs prove nothing"
    without, with_faults = (statistics.median(column) for column in zip(*times, strict=True))
    figures = {
        "kind": kind,
        "images": per_shard,
        "faults": faults,
        "clean_s": round(without, 2),
        "slowdown": round(with_faults / without, 2),
    }
    print(json.dumps(figures), flush=True)
    return with_faults / without


@pytest.mark.parametrize("kind", FAULTS)
def test_an_epoch_over_faults_takes_at_most_three_times_as_long(s3_endpoint, kind):
    assert slowdown(s3_endpoint, kind, LARGE) <= MOST


def test_control_over_tiny_shards_the_pauses_between_tries_are_seen(s3_endpoint):
    assert slowdown(s3_endpoint, "slow_down", SMALL) > MOST
