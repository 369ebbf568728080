"""A store of three attributes over a folder, and pushes to it by number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from gem_ray.config import GraphConfig, StorageConfig
from gem_ray.graph.actor import GraphStore
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push
from gem_ray.storage import Storage

ATTRIBUTES = ("male", "beard", "bald")
CONFIG = GraphConfig(snapshot_every_pushes=5, max_staleness=10, keep_versions=12)


def make_push(number: int, base_version: int, kind=EvidenceKind.SCORES, source="male", **changes) -> Push:
    strength = float(np.random.default_rng(number).uniform(-1, 1))
    edge = EdgeUpdate(source=source, target="beard", strength=strength, standard_error=0.1, num_observations=number)
    push = Push(
        push_id=f"p{number}",
        base_version=base_version,
        kind=kind,
        edges=(edge,),
        evidence_id=f"e{number}.json",
        step=number,
    )
    return replace(push, **changes)


def open_store(folder: Path, config: GraphConfig = CONFIG, attributes=ATTRIBUTES) -> GraphStore:
    return GraphStore(Storage(str(folder), StorageConfig()), "run", attributes, config)


def crash(store: GraphStore) -> None:
    """Let go of the files as a killed process does: without a last snapshot."""
    store._journal.close()


def push_many(store: GraphStore, count: int) -> None:
    for number in range(1, count + 1):
        assert store.push(make_push(number, number - 1)).version == number
