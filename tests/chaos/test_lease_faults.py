"""The lease that keeps a second driver away from a run on S3, over a line that loses answers and goes down."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from gem_ray.config import StorageConfig
from gem_ray.errors import ConfigError, TrainingError
from gem_ray.storage import Storage
from gem_ray.train.run_lock import LOCK, run_lock
from kit.proxy import Faults, fault_proxy

SEED = 77


def run_at(endpoint: str, name: str, **settings: float) -> Storage:
    return Storage(f"s3://chaos/{name}", StorageConfig(endpoint_url=endpoint, **settings))


def test_a_driver_whose_lease_was_made_and_whose_answer_was_lost_holds_it(s3_endpoint):
    lost = 0
    for seed in range(SEED, SEED + 6):
        with fault_proxy(s3_endpoint, seed, lost=0.5) as proxy:
            with run_lock(run_at(proxy.url, f"lease-{seed}", attempts=10)):
                with pytest.raises(ConfigError, match="in use by"):
                    with run_lock(run_at(s3_endpoint, f"lease-{seed}")):
                        pytest.fail("two drivers hold one run")
                proxy.faults = Faults()
            lost += proxy.counts["lost"]
    assert lost > 3


def test_a_lease_is_renewed_again_after_storage_was_away(s3_endpoint):
    with fault_proxy(s3_endpoint, SEED) as proxy:
        run = run_at(proxy.url, "away", attempts=1)
        with run_lock(run, lease_s=2.0):
            first = run.read_bytes(LOCK)
            proxy.faults = Faults(slow_down=1.0)
            end = time.monotonic() + 30
            while proxy.counts["slow_down"] < 4 and time.monotonic() < end:
                time.sleep(0.05)
            proxy.faults = Faults()
            while (renewed := run.read_bytes(LOCK)) == first and time.monotonic() < end:
                time.sleep(0.05)
            assert proxy.counts["slow_down"] >= 4
            assert renewed != first, "the thread that renews the lease has died of the first fault"


def test_a_driver_from_whom_storage_was_away_for_longer_than_its_lease_ends_where_another_took_over(s3_endpoint):
    theirs = run_at(s3_endpoint, "taken")
    with fault_proxy(s3_endpoint, SEED) as proxy, ExitStack() as other:

        def lose_the_lease() -> None:
            with run_lock(run_at(proxy.url, "taken", attempts=1), lease_s=2.0):
                proxy.faults = Faults(slow_down=1.0)
                while not took_over():
                    time.sleep(0.05)
                proxy.faults = Faults()
                time.sleep(30)

        def took_over() -> bool:
            try:
                other.enter_context(run_lock(theirs, lease_s=2.0))
            except ConfigError:
                return False
            return True

        with pytest.raises(TrainingError, match="has taken over the run"):
            lose_the_lease()
        assert proxy.counts["slow_down"] > 0
        assert theirs.exists(LOCK), "the lease of the other was given back"
    assert not theirs.exists(LOCK)
