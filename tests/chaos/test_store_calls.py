"""Lost calls to the store's actor, by Ray's own switch: no push is lost, and none is applied twice.

The switch is read as a process starts, so that each case is a program of its own with a Ray of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kit.rpc import KINDS, lost_calls

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
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
