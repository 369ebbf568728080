"""What faults of S3 cost in time: an epoch of shards takes at most three times as long.

Every kind of fault is timed in turn with a clean line, pauses between tries as they are. Control: where half of all
requests are refused, the same check fails.
"""

from __future__ import annotations

import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.synthetic import write_random_shards
from gem_ray.config import StorageConfig
from gem_ray.data.manifest import Manifest
from gem_ray.data.reading import READERS
from gem_ray.data.shards import read_records
from gem_ray.storage import Storage
from kit.proxy import fault_proxy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
FAULTS = {"slow_down": 0.3, "reset": 0.2, "cut": 0.2, "flip": 0.2}
ROUNDS, MOST = 9, 3.0
SHARDS, SIDE = 16, 64
PER_SHARD = 1024  # 12.6 MB, a fifth of the usual: a larger one is refused as often and takes longer to read


def at(endpoint: str) -> Storage:
    """With tries enough for the control."""
    return Storage("s3://chaos/slowdown", StorageConfig(endpoint_url=endpoint, attempts=20))


def epoch_s(storage: Storage, manifest: Manifest) -> float:
    """Every shard, read, verified and decoded, as many at a time as training reads."""

    def read(shard: int) -> int:
        return len(read_records(storage, manifest, shard * PER_SHARD, (shard + 1) * PER_SHARD).images)

    began = time.monotonic()
    with ThreadPoolExecutor(READERS) as pool:
        assert list(pool.map(read, range(SHARDS))) == [PER_SHARD] * SHARDS
    return time.monotonic() - began


@pytest.fixture(scope="module")
def manifest(s3_endpoint: str) -> Manifest:
    return write_random_shards(at(s3_endpoint), SHARDS, PER_SHARD, SIDE)


def slowdown(endpoint: str, manifest: Manifest, kind: str, probability: float, rounds: int = ROUNDS) -> float:
    """The median of epochs with faults over that of epochs without, in turn."""
    epoch_s(at(endpoint), manifest)
    times, faults = [], 0
    for seed in range(rounds):
        with fault_proxy(endpoint, seed) as clean, fault_proxy(endpoint, seed, **{kind: probability}) as faulty:
            times.append([epoch_s(at(proxy.url), manifest) for proxy in (clean, faulty)])
        assert not clean.counts
        faults += faulty.counts[kind]
    assert faults >= rounds, f"{faults} faults in {rounds} epochs prove nothing"
    without, with_faults = (statistics.median(column) for column in zip(*times, strict=True))
    figures = {
        "kind": kind,
        "probability": probability,
        "faults": faults,
        "clean_s": round(without, 2),
        "slowdown": round(with_faults / without, 2),
    }
    print(json.dumps(figures), flush=True)
    return with_faults / without


@pytest.mark.parametrize(("kind", "probability"), FAULTS.items())
def test_an_epoch_over_faults_takes_at_most_three_times_as_long(s3_endpoint, manifest, kind, probability):
    assert slowdown(s3_endpoint, manifest, kind, probability) <= MOST


def test_control_the_same_check_notices_a_line_that_refuses_half(s3_endpoint, manifest):
    assert slowdown(s3_endpoint, manifest, "slow_down", 0.5, rounds=3) > MOST
