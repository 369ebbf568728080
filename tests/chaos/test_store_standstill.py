"""A DisGraph's store that stands still for ten seconds while a training runs: no step waits, and its age is told.

The store's process is stopped, which is worse than dead: its calls neither fail nor return. Control: a training that
asked the store itself, in its steps, would have stood as still.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import ray

from gem_ray.config import GraphConfig, StorageConfig, TrainConfig
from gem_ray.errors import GraphError
from gem_ray.graph.store import StoreClient, start_store
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push
from gem_ray.storage import Storage
from gem_ray.train.ray_session import start_ray
from gem_ray.train.trainer import run_storage
from kit.processes import stopped
from kit.training import Follower, small_training, train_beside

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
STANDS_S, POLL_S, HELD_UP_S = 10.0, 1.0, 0.1


def push_one(store: StoreClient, number: int, strength: float) -> int:
    edge = EdgeUpdate(source="male", target="beard", strength=strength, standard_error=0.1, num_observations=9)
    push = Push(push_id=f"p{number}", base_version=number - 1, kind=EvidenceKind.SCORES, edges=(edge,), evidence_id="e")
    return store.push(push).version


@dataclass
class Standstill:
    """Pushes, stops the store, lets it go on, and pushes again."""

    follower: Follower
    times: list[float] = field(default_factory=list)
    unanswered: str = ""

    def work(self) -> None:
        follower = self.follower
        follower.wait(lambda: follower.step() > 40, 240)
        store = StoreClient("standstill", follower.run)
        assert push_one(store, 1, 0.3) == 1
        follower.wait(lambda: self.newest()["graph_version"] == 1, 60)
        with stopped(store.describe().pid):
            self.times.append(time.time())
            with pytest.raises(GraphError) as refused:
                store.describe(deadline_s=2.0)
            self.unanswered = str(refused.value)
            time.sleep(max(0.0, self.times[0] + STANDS_S - time.time()))
            self.times.append(time.time())
        assert push_one(store, 2, 0.4) == 2
        follower.wait(lambda: self.newest()["graph_version"] == 2, 60)

    def newest(self) -> dict[str, Any]:
        return self.follower.lines()[-1]

    def lines(self, during: bool) -> list[dict[str, Any]]:
        """The steps that ended while the store stood, or those before it."""
        began, ended = self.times
        return [
            line
            for line in self.follower.lines()
            if (began < line["time"] <= ended if during else line["time"] <= began)
        ]


def test_no_step_of_a_training_waits_for_a_store_that_stands_still_and_each_tells_how_long_it_has(tmp_path):
    # One worker, whose look at the graph waits for no other rank; a line of the log for each step.
    train = TrainConfig(num_workers=1, steps=10**6, checkpoint_every_steps=1000, log_every_steps=1)
    graph = GraphConfig(poll_every_s=POLL_S, refresh_every_steps=1, max_staleness=50)
    config = small_training(tmp_path, "standstill", train, graph)
    standstill = Standstill(Follower(run_storage(config)))
    train_beside(config, standstill.work)
    before, during = standstill.lines(during=False), standstill.lines(during=True)
    rate = 40 / (before[-1]["time"] - before[-41]["time"])
    silence = [line["store_silence_s"] for line in during]
    versions = [line["graph_version"] for line in standstill.follower.lines()]
    figures = {
        "steps": len(during),
        "steps_of_as_long_before": round(rate * STANDS_S),
        "longest_look_at_the_graph_s": round(max(line["seconds_graph"] for line in during), 4),
        "longest_step_s": round(max(later["time"] - line["time"] for line, later in pairwise(during)), 3),
        "silence_s": [round(seconds, 2) for seconds in (before[-1]["store_silence_s"], max(silence))],
    }
    print(json.dumps(figures), flush=True)
    assert "did not answer" in standstill.unanswered, "the store answered: it did not stand still"
    assert len(during) > rate * STANDS_S / 2
    assert max(line["seconds_graph"] for line in during) < HELD_UP_S
    assert max(line["store_silence_s"] for line in before[-40:]) < POLL_S + 2.0
    assert silence == sorted(silence)
    assert silence[-1] > STANDS_S - POLL_S - 1.0
    # What a step says of the graph's age is the time since it was adopted, whoever is silent.
    assert all(line["graph_age_s"] >= line["store_silence_s"] - POLL_S - 2.0 for line in during)
    assert versions == sorted(versions)
    assert set(versions) == {0, 1, 2}


@pytest.fixture
def store(tmp_path: Path):
    start_ray(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield start_store(Storage(str(tmp_path), StorageConfig()), "still", ("male", "beard"), GraphConfig())
    StoreClient("still").stop()
    ray.shutdown()


def test_control_a_step_that_asks_the_store_itself_is_held_up(store):
    client = StoreClient("still")
    with stopped(store.describe().pid):
        began = time.monotonic()
        with pytest.raises(GraphError, match="did not answer"):
            client.snapshot(0, deadline_s=2.0)
        assert time.monotonic() - began > 10 * HELD_UP_S
