"""Snapshots: whole, verified, and never replaced."""

from __future__ import annotations

import pytest

from gem_ray.config import StorageConfig
from gem_ray.errors import GraphError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.snapshots import drop_snapshot, read_snapshot, snapshot_versions, write_snapshot
from gem_ray.storage import Storage

EMPTY = DisGraph.empty(("male", "beard"))


def test_snapshot_survives_storage(tmp_path):
    storage = Storage(str(tmp_path), StorageConfig())
    assert snapshot_versions(storage) == []
    write_snapshot(storage, EMPTY, {})
    write_snapshot(storage, EMPTY.restore(EMPTY), {"p1": 1})
    assert snapshot_versions(storage) == [0, 1]
    graph, applied = read_snapshot(storage, 1)
    assert graph.digest() == EMPTY.restore(EMPTY).digest()
    assert applied == {"p1": 1}
    drop_snapshot(storage, 0)
    assert snapshot_versions(storage) == [1]


def test_snapshot_that_is_gone_since_it_was_listed_is_named(tmp_path):
    with pytest.raises(GraphError, match="snapshot-000000000007 is gone since it was listed"):
        read_snapshot(Storage(str(tmp_path), StorageConfig()), 7)


def test_every_flipped_byte_is_noticed(tmp_path):
    storage = Storage(str(tmp_path), StorageConfig())
    write_snapshot(storage, EMPTY, {"p1": 0})
    path = tmp_path / "snapshot-000000000000"
    data = path.read_bytes()
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(GraphError, match="damaged"):
            read_snapshot(storage, 0)
