from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gem_ray.checkpoint import Checkpoint, save_checkpoint
from gem_ray.config import GraphConfig, StorageConfig
from gem_ray.errors import DataError, GraphError
from gem_ray.evaluation.stored_graph import newest_graph, stored_records
from gem_ray.graph.actor import GraphStore
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.journal import ObjectJournal
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push
from gem_ray.storage import Storage

NAMES = ("bald", "beard", "male")


def storage(folder: Path) -> Storage:
    return Storage(str(folder), StorageConfig())


def filled_store(run: Storage, num_pushes: int) -> GraphStore:
    store = GraphStore(run, "run", NAMES, GraphConfig(snapshot_every_pushes=3))
    for number in range(num_pushes):
        edge = EdgeUpdate(
            source="beard", target="male", strength=0.1 * (number + 1), standard_error=0.02, num_observations=64
        )  # fmt: skip
        push = Push(push_id=f"p{number}", base_version=number, kind=EvidenceKind.SCORES, edges=(edge,), evidence_id="e")
        assert store.push(push).applied
    return store


@pytest.mark.parametrize("num_pushes", [1, 3, 7])
def test_the_newest_version_is_read_from_a_journal_of_objects_too(tmp_path, num_pushes, monkeypatch):
    monkeypatch.setattr("gem_ray.graph.actor.open_journal", ObjectJournal)  # that of remote storage
    filled_store(storage(tmp_path), num_pushes)
    assert newest_graph(storage(tmp_path)).version == num_pushes
    assert not list((tmp_path / "graph").glob("journal-*"))


@pytest.mark.parametrize("num_pushes", [1, 3, 7])
def test_the_newest_version_is_read_while_the_store_still_holds_its_lock(tmp_path, num_pushes):
    store = filled_store(storage(tmp_path), num_pushes)
    graph = newest_graph(storage(tmp_path))
    held = store.snapshot(None)
    assert held is not None
    assert graph.version == num_pushes
    assert graph.digest() == held.digest()


def test_a_frame_that_is_being_written_is_left_out(tmp_path):
    filled_store(storage(tmp_path), 2)
    newest = max((tmp_path / "graph").glob("journal-*"))
    newest.write_bytes(newest.read_bytes()[:-10])
    assert newest_graph(storage(tmp_path)).version == 1


def test_a_damaged_record_is_an_error_and_not_an_older_graph(tmp_path):
    filled_store(storage(tmp_path), 2)
    newest = max((tmp_path / "graph").glob("journal-*"))
    data = bytearray(newest.read_bytes())
    data[60] ^= 1
    newest.write_bytes(bytes(data))
    with pytest.raises(GraphError, match="damaged"):
        newest_graph(storage(tmp_path))


def test_records_come_in_order_over_all_files_of_the_journal(tmp_path):
    filled_store(storage(tmp_path), 7)
    assert [record.version for record in stored_records(storage(tmp_path / "graph"))] == list(range(1, 8))


def test_a_run_of_which_only_checkpoints_are_left_has_their_graph(tmp_path):
    graph = DisGraph.from_strength(NAMES, np.full((3, 3), 0.5), np.full((3, 3), 0.1))
    checkpoint = Checkpoint(step=3, model={}, optimizer={}, graph_json=graph.to_json(), state={})
    save_checkpoint(storage(tmp_path), checkpoint, keep=1)
    assert newest_graph(storage(tmp_path)).digest() == graph.digest()


def test_a_folder_without_a_run_is_told_from_an_empty_graph(tmp_path):
    with pytest.raises(DataError, match=r"holds no graph; set run\.uri and run\.name"):
        newest_graph(storage(tmp_path))
