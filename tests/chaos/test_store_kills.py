"""SIGKILLs of the graph store under concurrent pushers: nothing acknowledged is lost, nothing is applied twice.

Two controls, a store that does not replay its journal and one that does not remember ids, must fail the same check;
without them the test could be blind. Set ``-s`` to see the recovery times.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import ray

from gem_ray.config import GraphConfig, StorageConfig
from gem_ray.graph.authentication import ensure_key
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.store import GraphStore, StoreClient, launch
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push, PushReply
from gem_ray.storage import Storage
from gem_ray.train.ray_session import start_ray

pytestmark = pytest.mark.ray
ATTRIBUTES = ("bangs", "bald", "male", "beard")
PUSHERS = 4
WINDOW_S = 0.002
MEDIAN_S, MOST_S = 6.0, 12.0  # of a recovery: a new process with its imports, on cores that others use too
MAX_CHANGE = 0.5

# The store classes below run in Ray's workers, which cannot import a test module.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class WindowStore(GraphStore):
    """Keeps the reply back for a moment, so that many kills land between the change and its acknowledgement."""

    @ray.method(concurrency_group="write")
    def push(self, push: Push, signature: str = "") -> PushReply:
        reply = super().push(push, signature)
        time.sleep(WINDOW_S)
        return reply


class ForgetsIds(WindowStore):
    """Control: does not know a push that it has applied before."""

    @ray.method(concurrency_group="write")
    def push(self, push: Push, signature: str = "") -> PushReply:
        self._ready()
        self._applied.clear()
        return super().push(push, signature)


class ForgetsJournal(WindowStore):
    """Control: every incarnation begins anew, as if nothing had been written."""

    def __init__(self, run_storage: Storage, *arguments, authenticated: bool) -> None:
        # There is no key in a folder of its own.
        super().__init__(run_storage.child(f"incarnation-{os.getpid()}"), *arguments, authenticated=False)


@dataclass
class Outcome:
    acknowledged: dict[str, tuple[int, Push]] = field(default_factory=dict)
    repeated: int = 0  # pushes that were applied, whose first reply was lost with its process
    killed: list[int] = field(default_factory=list)
    recovery_s: list[float] = field(default_factory=list)
    final: DisGraph | None = None

    def faults(self) -> list[str]:
        """What is wrong with the end state, given that every pusher went on until each of its pushes was answered."""
        faults = []
        in_order = sorted(self.acknowledged.values(), key=lambda pair: pair[0])
        if self.final.version != len(in_order):
            faults.append(f"version {self.final.version} for {len(in_order)} distinct ids")
        if [version for version, _ in in_order] != list(range(1, len(in_order) + 1)):
            faults.append("the acknowledged versions are not 1, 2, 3, ...")
        replay = DisGraph.empty(ATTRIBUTES)
        for _, push in in_order:
            replay = replay.apply(push, MAX_CHANGE)
        if replay.digest() != self.final.digest():
            faults.append("the arrays are not those of a sequential replay")
        return faults


def make_push(pusher: int, number: int, base_version: int) -> Push:
    rng = np.random.default_rng((pusher, number))
    source, target = rng.choice(len(ATTRIBUTES), 2, replace=False)
    edge = EdgeUpdate(
        source=ATTRIBUTES[source],
        target=ATTRIBUTES[target],
        strength=float(rng.uniform(-1, 1)),
        standard_error=float(rng.exponential(0.1)),
        num_observations=number,
    )
    kind = tuple(EvidenceKind)[number % 4]
    return Push(
        push_id=f"{pusher}-{number}",
        base_version=base_version,
        kind=kind,
        edges=(edge,),
        evidence_id=f"{pusher}-{number}.json",
        step=number,
    )


def keep_pushing(storage: Storage, run_name: str, pusher: int, enough: threading.Event, outcome: Outcome) -> None:
    client = StoreClient(run_name, storage)
    number = version = 0
    while not enough.is_set():
        number += 1
        push = make_push(pusher, number, version)
        reply = client.push(push, deadline_s=60)
        while not reply.applied:
            push = replace(push, base_version=client.snapshot(deadline_s=60).version)
            reply = client.push(push, deadline_s=60)
        version = reply.version
        outcome.repeated += reply.duplicate
        outcome.acknowledged[push.push_id] = (version, push)


def kill_and_wait(client: StoreClient, outcome: Outcome) -> None:
    pid = client.describe(deadline_s=60).pid
    os.kill(pid, signal.SIGKILL)
    start = time.monotonic()
    while client.describe(deadline_s=60).pid == pid:
        time.sleep(0.01)
    outcome.killed.append(pid)
    outcome.recovery_s.append(time.monotonic() - start)


def run_chaos(store_class: type[GraphStore], storage: Storage, run_name: str, kills: int, pushes: int) -> Outcome:
    config = GraphConfig(max_change=MAX_CHANGE, snapshot_every_pushes=25, max_staleness=200)
    ensure_key(storage.child("graph"))
    launch(store_class, storage, run_name, ATTRIBUTES, config)
    client = StoreClient(run_name)
    client.describe(deadline_s=60)
    outcome, enough, rng = Outcome(), threading.Event(), np.random.default_rng(7)
    with ThreadPoolExecutor(PUSHERS) as pool:
        pushers = [pool.submit(keep_pushing, storage, run_name, number, enough, outcome) for number in range(PUSHERS)]
        try:
            for _ in range(kills):
                time.sleep(rng.uniform(0.05, 0.4))
                kill_and_wait(client, outcome)
            while len(outcome.acknowledged) < pushes and not any(pusher.done() for pusher in pushers):
                time.sleep(0.05)
        finally:
            enough.set()
        for pusher in pushers:
            pusher.result()
    outcome.final = client.snapshot(deadline_s=60)
    return outcome


def local(folder: Path) -> Storage:
    return Storage(str(folder), StorageConfig())


@pytest.fixture(scope="module", autouse=True)
def ray_4_cpus(s3_endpoint):
    """Started after the S3 server, so that workers inherit its credentials."""
    start_ray(num_cpus=4, include_dashboard=False)
    yield
    ray.shutdown()


@pytest.fixture
def run_name(request):
    yield request.node.name
    StoreClient(request.node.name).stop()


def test_twenty_kills_lose_no_acknowledged_push_and_repeat_none(run_name, tmp_path):
    outcome = run_chaos(WindowStore, local(tmp_path), run_name, kills=20, pushes=1_000)
    print(
        json.dumps(
            {
                "kills": len(outcome.killed),
                "acknowledged": len(outcome.acknowledged),
                "repeated": outcome.repeated,
                "recovery_median_s": round(statistics.median(outcome.recovery_s), 2),
                "recovery_max_s": round(max(outcome.recovery_s), 2),
            }
        )
    )
    assert len(set(outcome.killed)) == 20
    assert len(outcome.acknowledged) >= 1_000
    assert outcome.repeated > 0, "no kill landed between a change and its acknowledgement"
    assert statistics.median(outcome.recovery_s) < MEDIAN_S
    assert max(outcome.recovery_s) < MOST_S
    assert outcome.faults() == []


@pytest.mark.slow
def test_kills_of_a_store_on_s3_lose_and_repeat_nothing(run_name, s3_endpoint):
    storage = Storage("s3://chaos/store-kills", StorageConfig(endpoint_url=s3_endpoint))
    outcome = run_chaos(WindowStore, storage, run_name, kills=5, pushes=100)
    assert len(set(outcome.killed)) == 5
    assert len(outcome.acknowledged) >= 100
    assert outcome.faults() == []


@pytest.mark.slow
def test_control_without_remembered_ids_fails(run_name, tmp_path):
    outcome = run_chaos(ForgetsIds, local(tmp_path), run_name, kills=8, pushes=100)
    assert len(set(outcome.killed)) == 8
    assert outcome.faults() != []
    assert outcome.final.version > len(outcome.acknowledged)


def test_control_without_the_journal_fails(run_name, tmp_path):
    outcome = run_chaos(ForgetsJournal, local(tmp_path), run_name, kills=2, pushes=100)
    assert len(set(outcome.killed)) == 2
    assert outcome.faults() != []
    assert outcome.final.version < len(outcome.acknowledged)
