"""The DisGraph's store against its disk and against itself: kills at every file operation, a full disk, two writers.

What is tested is the actor's class without Ray; ``test_store_kills`` kills the actor itself.
"""

from __future__ import annotations

import sys
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ray import cloudpickle

from gem_ray.config import GraphConfig, StorageConfig
from gem_ray.errors import StorageError
from gem_ray.graph.actor import GraphStore
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.journal import ObjectJournal
from gem_ray.graph.record import Record
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push
from gem_ray.storage import Storage
from kit.kill_points import killed_at
from kit.limits import full_disk
from kit.proxy import fault_proxy

SEED = 612
ATTRIBUTES = ("male", "beard", "bald")
CONFIG = GraphConfig(snapshot_every_pushes=2, max_staleness=3, keep_versions=4)
PUSHES = 8


@pytest.fixture(scope="module", autouse=True)
def sent_by_value() -> Iterator[None]:
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


def make_push(number: int | str, base_version: int) -> Push:
    strength = float(np.random.default_rng(zlib.crc32(str(number).encode())).uniform(-1, 1))
    edge = EdgeUpdate(source="male", target="beard", strength=strength, standard_error=0.1, num_observations=9)
    return Push(
        push_id=f"p{number}",
        base_version=base_version,
        kind=EvidenceKind.SCORES,
        edges=(edge,),
        evidence_id=f"e{number}",
    )


def open_store(folder: Path, config: GraphConfig = CONFIG) -> GraphStore:
    return GraphStore(Storage(str(folder), StorageConfig()), "run", ATTRIBUTES, config)


def numbered(number: int) -> Push:
    edge = EdgeUpdate(source="male", target="beard", strength=0.1 * number, standard_error=0.1, num_observations=number)
    return Push(
        push_id=f"p{number}",
        base_version=number - 1,
        kind=EvidenceKind.SCORES,
        edges=(edge,),
        evidence_id=f"e{number}",
    )


def replayed(count: int) -> DisGraph:
    graph = DisGraph.empty(ATTRIBUTES)
    for number in range(1, count + 1):
        graph = graph.apply(numbered(number), CONFIG.max_change)
    return graph


def push_and_note(folder: Path, notes: Path) -> None:
    """What a killed process has acknowledged stands in the notes."""
    store = open_store(folder)
    for number in range(1, PUSHES + 1):
        assert store.push(numbered(number)).version == number
        with open(notes, "w") as file:
            file.write(str(number))


def acknowledged(notes: Path) -> int:
    return int(notes.read_text() or 0) if notes.exists() else 0


def test_a_store_killed_at_any_file_operation_has_what_it_acknowledged(tmp_path):
    versions = []
    for point in range(1, 500):
        folder, notes = tmp_path / f"run-{point}", tmp_path / f"run-{point}-notes"
        died = killed_at(point, lambda folder=folder, notes=notes: push_and_note(folder, notes), below=str(folder))
        store, told = open_store(folder), acknowledged(notes)
        graph = store.snapshot(None)
        # One more than was told, where the kill came between the change and its acknowledgement.
        assert graph.version - told in {0, 1}, f"kill {point}: version {graph.version}, {told} acknowledged"
        assert graph.digest() == replayed(graph.version).digest()
        if graph.version:
            assert store.push(numbered(graph.version)).duplicate
        versions.append(graph.version)
        store.close()
        if not died:
            break
    print(f"{len(versions) - 1} kills left versions {Counter(versions)}", flush=True)
    assert versions[-1] == PUSHES
    assert len(versions) > 30
    assert set(versions) == set(range(PUSHES + 1)), "kills did not come all along the way"


def test_a_full_disk_refuses_a_push_and_takes_it_when_there_is_room_again(tmp_path):
    store = open_store(tmp_path, GraphConfig(snapshot_every_pushes=100, keep_versions=200))
    for number in (1, 2, 3):
        assert store.push(numbered(number)).applied
    journal = tmp_path / "graph" / "journal-000000000000"
    before = store.snapshot(None).digest()
    for room in (0, 1, 30, len(Record(version=4, operation_id="p4", time_s=1.0, max_change=1.0).to_bytes())):
        with full_disk(journal.stat().st_size + room):
            with pytest.raises(StorageError, match="not accepted; free some space"):
                store.push(numbered(4))
            assert store.snapshot(None).digest() == before
    reply = store.push(numbered(4))
    assert (reply.version, reply.applied, reply.duplicate) == (4, True, False)
    store.close()
    assert open_store(tmp_path).snapshot(None).digest() == replayed(4).digest()


def test_a_disk_with_room_for_a_record_and_none_for_a_snapshot_costs_the_snapshot_alone(tmp_path, caplog):
    store = open_store(tmp_path)
    assert store.push(numbered(1)).applied
    snapshot = (tmp_path / "graph" / "snapshot-000000000000").stat().st_size
    journal = (tmp_path / "graph" / "journal-000000000000").stat().st_size
    assert 3 * journal < snapshot, "the records are as large as the snapshot: nothing would be tested"
    with full_disk(snapshot - 1):
        assert store.push(numbered(2)).applied
    assert "graph version 2 stays without a snapshot" in caplog.text
    assert store.push(numbered(3)).applied
    store._journal.close()
    assert open_store(tmp_path).snapshot(None).digest() == replayed(3).digest()


def test_a_store_that_starts_on_a_full_disk_says_so_and_starts_when_there_is_room(tmp_path):
    with full_disk(0):
        store = open_store(tmp_path)
        with pytest.raises(StorageError, match="cannot"):
            store.push(numbered(1))
    assert store.push(numbered(1)).version == 1


class Overwriting(ObjectJournal):
    """Control: a journal whose writer takes a version whether or not it is taken."""

    def append(self, record: Record) -> bool:
        self._storage.write_bytes(self._name(record.version), record.to_bytes())
        return True


def push_from_two(stores: tuple[GraphStore, GraphStore], count: int) -> dict[str, int]:
    """The version that each acknowledged push of two stores at once was told."""
    told: dict[str, int] = {}
    together = threading.Barrier(2)

    def push(which: int) -> None:
        for number in range(count):
            together.wait(60)
            store, name = stores[which], f"{which}-{number}"
            for _ in range(20):
                reply = store.push(make_push(name, store.snapshot(None).version))
                if reply.applied:
                    told[f"p{name}"] = reply.version
                    break

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(push, which) for which in range(2)]:
            done.result()
    return told


def forks(told: dict[str, int], storage: Storage) -> list[str]:
    """What is wrong with the journal, given what was acknowledged."""
    written = {record.version: record.operation_id for record in ObjectJournal(storage.child("graph")).read(0)}
    return [name for name, version in told.items() if written.get(version) != name]


@pytest.fixture
def two_stores(s3_endpoint: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Two living incarnations over one bucket, as when an actor was taken for dead and was not."""
    config = GraphConfig(snapshot_every_pushes=1000, max_staleness=100, keep_versions=2000)

    def build(endpoint: str, journal: type[ObjectJournal] = ObjectJournal) -> tuple[GraphStore, GraphStore]:
        monkeypatch.setattr("gem_ray.graph.actor.open_journal", journal)
        storage = Storage(f"s3://chaos/{request.node.name}", StorageConfig(endpoint_url=endpoint))
        stores = tuple(GraphStore(storage, "run", ATTRIBUTES, config) for _ in range(2))
        for store in stores:
            assert store.snapshot(None).version == 0
        return stores[0], stores[1]

    return build


def clean(endpoint: str, request: pytest.FixtureRequest) -> Storage:
    return Storage(f"s3://chaos/{request.node.name}", StorageConfig(endpoint_url=endpoint))


def test_two_incarnations_on_one_bucket_never_fork_over_a_line_that_loses_answers(two_stores, s3_endpoint, request):
    with fault_proxy(s3_endpoint, SEED, lost=0.15, slow_down=0.1) as proxy:
        stores = two_stores(proxy.url)
        told = push_from_two(stores, 10)
        # Each knows the other's pushes once it has to write behind them.
        for store in (*stores, stores[0]):
            store.push(make_push("last", store.snapshot(None).version))
    assert proxy.counts["lost"] > 0
    assert len(told) == 20
    assert sorted(told.values()) == list(range(1, 21))
    assert forks(told, clean(s3_endpoint, request)) == []
    assert stores[0].snapshot(None).digest() == stores[1].snapshot(None).digest()


def test_control_a_writer_that_does_not_look_forks(two_stores, s3_endpoint, request):
    told = push_from_two(two_stores(s3_endpoint, Overwriting), 5)
    assert forks(told, clean(s3_endpoint, request)) != []


def test_an_old_incarnation_that_wakes_up_finds_out_and_harms_nothing(two_stores, s3_endpoint, request):
    """It slept through ten versions: its next push is refused as stale or lands behind them, never over them."""
    old, new = two_stores(s3_endpoint)
    for number in range(10):
        assert new.push(make_push(number, number)).version == number + 1
    reply = old.push(make_push("late", 0))
    assert reply.version == 11
    assert old.snapshot(None).version == 11
    assert new.push(make_push("next", 10)).version == 12
    records = ObjectJournal(clean(s3_endpoint, request).child("graph")).read(0)
    assert [record.version for record in records] == list(range(1, 13))
    assert len({record.operation_id for record in records}) == 12
