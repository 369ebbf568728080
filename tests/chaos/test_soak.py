"""A store under pushes, reads and questions about its history for minutes: memory, descriptors and files stay flat.

The control leaks on purpose. ``GEM_RAY_SOAK_S`` is how long it takes, 600 s unless set.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from gem_ray.config import GraphConfig, StorageConfig
from gem_ray.graph.authentication import ensure_key
from gem_ray.graph.store import GraphStore, StoreClient, launch
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push, PushReply
from gem_ray.storage import Storage
from gem_ray.train.ray_session import start_ray
from kit.watching import Watch, watched

SOAK_S = float(os.environ.get("GEM_RAY_SOAK_S", "600"))
pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(2 * SOAK_S + 300),
]
ATTRIBUTES = ("bangs", "bald", "male", "beard", "blond", "makeup")
CONFIG = GraphConfig(max_staleness=50, snapshot_every_pushes=20, keep_versions=200)
MOST_MB_PER_MINUTE = 1.0
MOST_MORE_DESCRIPTORS = 4

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Leaking(GraphStore):
    """Control: keeps 20 KB of every push, and a descriptor of every tenth."""

    @ray.method(concurrency_group="write")
    def push(self, push: Push, signature: str = "") -> PushReply:
        kept = self.__dict__.setdefault("leak", [])
        kept.append(bytearray(20_000) if len(kept) % 10 else open(os.devnull))  # noqa: SIM115
        return super().push(push, signature)


@pytest.fixture(scope="module", autouse=True)
def ray_2_cpus() -> Iterator[None]:
    start_ray(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def soak(store_class: type[GraphStore], name: str, folder: Path, seconds: float) -> tuple[Watch, int, list[int]]:
    """(what was seen of the actor, pushes, bytes of the graph's folder over time)."""
    storage = Storage(str(folder), StorageConfig())
    ensure_key(storage.child("graph"))
    launch(store_class, storage, name, ATTRIBUTES, CONFIG)
    client = StoreClient(name, storage)
    sizes: list[int] = []
    every_s = max(0.2, seconds / 300)
    with watched(client.describe(deadline_s=60).pid, every_s=every_s) as watch:
        end, number, version = time.monotonic() + seconds, 0, 0
        while time.monotonic() < end:
            number += 1
            source, target = ATTRIBUTES[number % 6], ATTRIBUTES[(number + 1 + number // 6 % 5) % 6]
            edge = EdgeUpdate(
                source=source,
                target=target,
                strength=(number * 37 % 200 - 100) / 100,
                standard_error=0.1,
                num_observations=9,
            )
            push = Push(
                push_id=f"{name}-{number}",
                base_version=version,
                kind=tuple(EvidenceKind)[number % 4],
                edges=(edge,),
                evidence_id=f"{number}.json",
            )
            version = client.push(push, deadline_s=60).version
            if number % 50 == 0:
                client.snapshot(deadline_s=60)
                client.history(source, target)
                client.at(version - 10)
                sizes.append(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
    client.stop()
    figures = {
        "seconds": seconds,
        "pushes": number,
        "samples": len(watch.samples),
        "mb_per_minute": round(watch.megabytes_per_minute(), 2),
        "more_descriptors": watch.more_descriptors(),
        "folder_kb": [round(size / 1000) for size in (min(sizes), max(sizes), sizes[-1])],
    }
    print(json.dumps(figures), flush=True)
    assert len(watch.samples) > 0.8 * seconds / every_s, "the process was not looked at all along"
    return watch, number, sizes


def test_memory_descriptors_and_files_stay_flat(tmp_path):
    watch, pushes, sizes = soak(GraphStore, "soak", tmp_path, SOAK_S)
    assert pushes > 3 * SOAK_S
    assert watch.megabytes_per_minute() < MOST_MB_PER_MINUTE
    assert watch.more_descriptors() <= MOST_MORE_DESCRIPTORS
    late = sizes[len(sizes) // 2 :]
    assert max(late) < 1.5 * min(late), "the journal is not compacted"


def test_control_a_store_that_leaks_is_found(tmp_path):
    watch, _, _ = soak(Leaking, "leaking", tmp_path, min(30.0, SOAK_S))
    assert watch.megabytes_per_minute() > MOST_MB_PER_MINUTE
    assert watch.more_descriptors() > MOST_MORE_DESCRIPTORS
