"""Ratios of the graph store as a real actor on local storage: a batched push over single ones, a poll over a fetch."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator

from benchmarks.timing import Ratio, figures, in_turn
from gem_ray.config import GemConfig, RunConfig, ScoringConfig
from gem_ray.graph.store import StoreClient, start_store
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push
from gem_ray.storage import Storage
from gem_ray.train.ray_session import ray_session

ATTRIBUTES = tuple(f"attribute {number}" for number in range(40))
EDGES = 64
POLLS = 50


def store(repeats: int) -> Iterator[Ratio]:
    """Edges per second in one push over one push an edge; looks at an unchanged graph over fetching 40 x 40 of it."""
    with tempfile.TemporaryDirectory(prefix="gem_ray-bench-") as folder:
        config = GemConfig(run=RunConfig(uri=folder, name="bench-store"), scoring=ScoringConfig(scorer="none"))
        with ray_session(config):
            run = Storage(f"{folder}/bench-store", config.storage)
            client = start_store(run, config.run.name, ATTRIBUTES, config.graph)
            try:
                yield from measure(client, repeats)
            finally:
                client.stop()


def measure(client: StoreClient, repeats: int) -> Iterator[Ratio]:
    """Time both pairs against a running store."""
    edges = tuple(
        EdgeUpdate(source=source, target=target, strength=0.1, standard_error=0.1, num_observations=512)
        for source, target in itertools.islice(itertools.permutations(ATTRIBUTES, 2), EDGES)
    )
    numbers = itertools.count()
    version = client.describe().version

    def push(*part: EdgeUpdate) -> None:
        nonlocal version
        reply = client.push(
            Push(
                push_id=f"bench-{next(numbers)}",
                base_version=version,
                kind=EvidenceKind.SCORES,
                edges=part,
                evidence_id="bench",
            )
        )
        assert reply.applied, reply
        version = reply.version

    def push_singly() -> None:
        for edge in edges:
            push(edge)

    def push_at_once(pause_s: float) -> None:
        push(*edges)
        time.sleep(pause_s)

    what = f"{EDGES} edges of 40 attributes in one flushed push over {EDGES} pushes of one edge"
    turns = in_turn(push_at_once, push_singly, repeats, 1)
    yield from figures("store_batched_push", what, turns, EDGES, "edges/s", 10)

    def poll(newer_than: int | None, pause_s: float = 0.0) -> None:
        for _ in range(POLLS):
            assert (client.snapshot(newer_than) is None) is (newer_than is not None)
            time.sleep(pause_s)

    what = "looks of the poller at an unchanged graph over fetching the whole graph of 40 attributes"
    turns = in_turn(lambda pause_s: poll(version, pause_s), lambda: poll(None), repeats, POLLS)
    yield from figures("store_poll", what, turns, POLLS, "calls/s", 1)
