"""Lost calls to the store's actor, by Ray's own switch, and a store that stands still: nothing twice, and no waiting.

The switch is read as a process starts, so that each case is a program of its own with a Ray of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray

from gem_ray.config import GraphConfig, StorageConfig
from gem_ray.graph.store import StoreClient, start_store
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push
from gem_ray.storage import Storage
from gem_ray.train.ray_session import start_ray
from gem_ray.train.relation_feed import RelationPoller, without_scores
from kit.processes import stopped
from kit.rpc import KINDS, lost_calls

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
ATTRIBUTES = ("male", "beard", "bald")
METHOD = "CoreWorkerService.grpc_client.PushTask"
PUSHES, LOST, PERCENT = 40, 6, 25

PROGRAM = """
import json, sys, time
from gem_ray.config import GraphConfig, StorageConfig
from gem_ray.graph import store as store_module
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.store import StoreClient, start_store
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push
from gem_ray.storage import Storage
from gem_ray.train.ray_session import start_ray
import ray

folder, pushes = sys.argv[1], int(sys.argv[2])
attributes = ("male", "beard", "bald")
start_ray(num_cpus=2, include_dashboard=False, log_to_driver=False)
client = start_store(Storage(folder, StorageConfig()), "calls", attributes, GraphConfig(max_staleness=200))
replay, slowest, duplicates, tries = DisGraph.empty(attributes), 0.0, 0, 0
call = store_module.ray.get
def counting(*arguments, **options):
    global tries
    tries += 1
    return call(*arguments, **options)
store_module.ray.get = counting
for number in range(1, pushes + 1):
    edge = EdgeUpdate(source="male", target=attributes[1 + number % 2], strength=((number * 37) % 100) / 100,
                      standard_error=0.1, num_observations=number)
    push = Push(push_id=f"p{number}", base_version=number - 1, kind=EvidenceKind.SCORES, edges=(edge,),
                evidence_id="e")
    began = time.monotonic()
    reply = client.push(push, deadline_s=90)
    slowest = max(slowest, time.monotonic() - began)
    assert reply.applied, reply
    duplicates += reply.duplicate
    replay = replay.apply(push, 1.0)
graph = client.snapshot()
print(json.dumps({"version": graph.version, "same": graph.digest() == replay.digest(), "slowest_s": slowest,
                  "duplicates": duplicates, "tries": tries}))
client.stop()
ray.shutdown()
"""


def push_all(folder: Path, environment: dict[str, str]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(PUSHES)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    print(json.dumps({"environment": environment, **figures}), flush=True)
    return figures


@pytest.mark.parametrize("kind", [*KINDS, "none"])
def test_lost_calls_lose_no_push_and_apply_none_twice(kind, tmp_path):
    environment = {} if kind == "none" else lost_calls(METHOD, kind, LOST, PERCENT)
    figures = push_all(tmp_path, environment)
    assert figures["version"] == PUSHES
    assert figures["same"]
    if kind == "none":
        assert figures["tries"] == PUSHES + 1, "control: without lost calls each is made once"
        assert figures["slowest_s"] < 5
    else:
        assert figures["tries"] > PUSHES + 1, "no call was lost: nothing was tested"
    assert (figures["duplicates"] > 0) == (kind in {"answer", "in_flight"}), "a push was carried out and told twice"


@pytest.fixture
def store(tmp_path: Path):
    start_ray(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield start_store(Storage(str(tmp_path), StorageConfig()), "still", ATTRIBUTES, GraphConfig(max_staleness=50))
    StoreClient("still").stop()
    ray.shutdown()


def push_one(store: StoreClient, number: int) -> int:
    edge = EdgeUpdate(source="male", target="beard", strength=0.01 * number, standard_error=0.1, num_observations=9)
    push = Push(push_id=f"p{number}", base_version=number - 1, kind=EvidenceKind.SCORES, edges=(edge,), evidence_id="e")
    return store.push(push).version


def test_a_store_that_stands_still_for_ten_seconds_holds_nobody_up(store):
    """What the training loop does each step: take what the poller has, and look how old it is."""
    client = StoreClient("still")

    def fetch(newer_than: int):
        graph = client.snapshot(newer_than, deadline_s=1.0)
        return None if graph is None else without_scores(graph)

    poller = RelationPoller(fetch, lambda: None, -1, poll_every_s=0.1)
    versions, slowest = [], 0.0

    def step() -> None:
        nonlocal slowest
        began = time.monotonic()
        newer, _ = poller.take(), poller.silence_s
        slowest = max(slowest, time.monotonic() - began)
        if newer is not None:
            versions.append(newer.graph.version)
        time.sleep(0.01)

    def steps_until(condition, timeout_s: float) -> bool:
        end = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < end:
            step()
        return condition()

    push_one(store, 1)
    assert steps_until(lambda: versions[-1:] == [1], 20)
    with stopped(store.describe().pid):
        began = time.monotonic()
        assert not steps_until(lambda: time.monotonic() - began < 0, 10.0)
        silence = poller.silence_s
        assert silence > 8, "the store answered: it did not stand still"
        assert "did not answer" in poller.last_error
    assert push_one(store, 2) == 2
    assert steps_until(lambda: versions[-1:] == [2], 20), "the poller did not find the store again"
    poller.close()
    print(json.dumps({"slowest_step_s": slowest, "silence_s": silence, "versions": versions}), flush=True)
    assert versions == sorted(set(versions))
    assert slowest < 0.1
