"""GraphStore as an ordinary object: journal before answer, at most once, the same bits after a restart."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gem_ray.errors import GraphError, StorageError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.journal import ObjectJournal
from gem_ray.messages.graph import EvidenceKind, Refusal
from gem_ray.storage import Storage
from tests.unit.graph.small_stores import ATTRIBUTES, CONFIG, crash, make_push, open_store, push_many


@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 23])
def test_killed_store_comes_back_with_every_acknowledged_push(count, journal_kind, tmp_path):
    store = open_store(tmp_path)
    expected = DisGraph.empty(ATTRIBUTES)
    for number in range(1, count + 1):
        push = make_push(number, number - 1)
        assert store.push(push).applied
        expected = expected.apply(push, CONFIG.max_change)
    assert store.snapshot(None).digest() == expected.digest()
    crash(store)
    again = open_store(tmp_path)
    assert again.snapshot(None).digest() == expected.digest()
    if count:
        reply = again.push(make_push(count, count - 1))
        assert (reply.version, reply.applied, reply.duplicate) == (count, True, True)
        assert again.snapshot(None).version == count


def test_snapshot_is_sent_only_where_it_is_news(tmp_path):
    store = open_store(tmp_path)
    push_many(store, 2)
    assert store.snapshot(1).version == 2
    assert store.snapshot(2) is None
    assert store.snapshot(7) is None


def test_refused_push_leaves_no_trace(tmp_path):
    store = open_store(tmp_path)
    push_many(store, 1)
    reply = store.push(make_push(2, 1, source="beard"))
    assert (reply.applied, reply.refusal, reply.version) == (False, Refusal.SELF_LOOP, 1)
    assert store.snapshot(None).version == 1
    crash(store)
    store = open_store(tmp_path)
    assert store.snapshot(None).version == 1
    assert store.push(make_push(2, 1)).applied  # the id of a refused push is not used up


def test_cut_at_every_few_bytes_of_the_journal_gives_a_prefix_of_the_acknowledged(tmp_path):
    store = open_store(tmp_path, replace(CONFIG, snapshot_every_pushes=100, keep_versions=100))
    journal = tmp_path / "graph" / "journal-000000000000"
    digests, ends = [store.snapshot(None).digest()], [0]
    for number in range(1, 5):
        store.push(make_push(number, number - 1))
        digests.append(store.snapshot(None).digest())
        ends.append(journal.stat().st_size)
    crash(store)
    data = journal.read_bytes()
    for cut in sorted({*range(0, len(data), 17), *ends, *(end - 1 for end in ends[1:])}):
        journal.write_bytes(data[:cut])
        store = open_store(tmp_path)
        whole = sum(end <= cut for end in ends) - 1
        assert store.snapshot(None).digest() == digests[whole]
        assert store.push(make_push(9, whole)).version == whole + 1
        crash(store)


def test_flipped_byte_in_the_journal_is_an_error_with_every_call_until_it_is_mended(tmp_path):
    store = open_store(tmp_path)
    push_many(store, 3)
    crash(store)
    journal = tmp_path / "graph" / "journal-000000000000"
    data = journal.read_bytes()
    journal.write_bytes(data[:200] + bytes([data[200] ^ 4]) + data[201:])
    store = open_store(tmp_path)
    for _ in range(2):
        with pytest.raises(GraphError, match="damaged at byte 0"):
            store.snapshot(None)
        with pytest.raises(GraphError, match="damaged"):
            store.push(make_push(4, 3))
    journal.write_bytes(data)
    assert store.snapshot(None).version == 3


def test_deleting_a_damaged_snapshot_gives_the_same_graph(tmp_path):
    store = open_store(tmp_path)
    push_many(store, 7)
    digest = store.snapshot(None).digest()
    crash(store)
    newest = tmp_path / "graph" / "snapshot-000000000005"
    newest.write_bytes(newest.read_bytes()[:-1])
    store = open_store(tmp_path)
    with pytest.raises(GraphError, match="delete it"):
        store.snapshot(None)
    newest.unlink()
    assert store.snapshot(None).digest() == digest
    assert store.push(make_push(8, 7)).version == 8
    crash(store)
    assert open_store(tmp_path).snapshot(None).version == 8


def test_failed_write_is_an_error_and_the_push_can_be_sent_again(tmp_path, monkeypatch):
    store = open_store(tmp_path)
    push_many(store, 1)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(StorageError, match="No space left on device; the change is not accepted"):
            store.push(make_push(2, 1))
    assert store.snapshot(None).version == 1
    reply = store.push(make_push(2, 1))
    assert (reply.version, reply.applied, reply.duplicate) == (2, True, False)
    crash(store)
    assert open_store(tmp_path).snapshot(None).version == 2


def test_failed_snapshot_costs_nothing_but_the_snapshot(tmp_path, monkeypatch, caplog):
    store = open_store(tmp_path)
    assert store.snapshot(None).version == 0
    fault = StorageError("cannot write snapshot: No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr("gem_ray.graph.actor.write_snapshot", lambda *a: (_ for _ in ()).throw(fault))
        push_many(store, 8)
    assert sorted(path.name for path in (tmp_path / "graph").glob("snapshot-*")) == ["snapshot-000000000000"]
    assert "stays without a snapshot: cannot write snapshot: No space left" in caplog.text
    digest = store.snapshot(None).digest()
    crash(store)
    store = open_store(tmp_path)
    assert store.snapshot(None).digest() == digest


@pytest.mark.parametrize("fault", [OSError(5, "Input/output error"), ZeroDivisionError("a bug")])
def test_a_load_that_fails_in_any_way_lets_go_of_the_folder(tmp_path, monkeypatch, fault):
    monkeypatch.setattr("gem_ray.graph.journal.LOCK_WAIT_S", 0.1)
    store = open_store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("gem_ray.graph.actor.newest", lambda *_: (_ for _ in ()).throw(fault))
        for _ in range(2):
            with pytest.raises(type(fault)):
                store.snapshot(None)
    assert store.snapshot(None).version == 0


def test_old_versions_that_cannot_be_deleted_fail_no_push_and_go_with_a_later_one(tmp_path, monkeypatch, caplog):
    store = open_store(tmp_path, replace(CONFIG, snapshot_every_pushes=1, max_staleness=1, keep_versions=2))
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith("journal-"):
            raise OSError(5, "Input/output error")
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        push_many(store, 4)
    assert "old versions stay until the next snapshot is written: cannot delete" in caplog.text
    assert "stays without a snapshot" not in caplog.text
    assert (tmp_path / "graph" / "journal-000000000000").exists()
    assert store.push(make_push(5, 4)).version == 5
    assert sorted(path.name[-1] for path in (tmp_path / "graph").glob("journal-*")) == ["3", "4", "5"]
    crash(store)
    assert open_store(tmp_path).snapshot(None).version == 5


def test_graph_of_other_attributes_is_refused_with_both_lists(tmp_path):
    store = open_store(tmp_path)
    push_many(store, 1)
    crash(store)
    with pytest.raises(GraphError, match=r"male, beard, bald, not male, bangs: .*run\.name"):
        open_store(tmp_path, attributes=("male", "bangs")).snapshot(None)
    assert open_store(tmp_path).snapshot(None).version == 1


def test_two_living_stores_on_objects_never_fork(monkeypatch, tmp_path):
    monkeypatch.setattr("gem_ray.graph.actor.open_journal", ObjectJournal)
    old, new = open_store(tmp_path), open_store(tmp_path)
    assert new.snapshot(None).version == 0
    assert old.push(make_push(1, 0)).version == 1
    assert new.push(make_push(1, 0)).duplicate  # a retry that reaches the other incarnation
    assert new.push(make_push(2, 1)).version == 2
    assert old.push(make_push(3, 1)).version == 3
    for store, number in zip(itertools.cycle([old, new]), range(4, 30)):
        store.push(make_push(number, store.snapshot(None).version))
    new.push(make_push(30, 29))
    assert new.snapshot(None).version == 30
    assert open_store(tmp_path).snapshot(None).digest() == new.snapshot(None).digest()


def test_answer_of_storage_that_is_lost_does_not_apply_a_push_twice(monkeypatch, tmp_path):
    monkeypatch.setattr("gem_ray.graph.actor.open_journal", ObjectJournal)
    store = open_store(tmp_path)
    push_many(store, 1)

    def create_and_lose_the_answer(self, name, data):
        create(self, name, data)
        raise StorageError("the connection was reset")

    create = Storage.create_bytes
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "create_bytes", create_and_lose_the_answer)
        with pytest.raises(StorageError):
            store.push(make_push(2, 1))
    assert store.snapshot(None).version == 1
    assert store.push(make_push(3, 1)).version == 3
    assert store.push(make_push(2, 1)).duplicate
    assert [record.version for record in store.history("male", "beard")] == [1, 2, 3]


def test_closing_publishes_the_version_and_frees_the_folder(tmp_path):
    store = open_store(tmp_path)
    push_many(store, 3)
    store.close()
    assert (tmp_path / "graph" / "snapshot-000000000003").exists()
    assert open_store(tmp_path).snapshot(None).version == 3


def test_copy_taken_while_pushes_go_on_has_every_push_that_was_acknowledged_before(journal_kind, tmp_path):
    store, ended = open_store(tmp_path / "graph-of-run"), threading.Event()
    acknowledged, limit, digests = 0, 0, {0: store.snapshot(None).digest()}

    def push_on() -> None:
        nonlocal acknowledged
        while not ended.is_set():
            if acknowledged >= limit:
                time.sleep(0.001)
                continue
            number = acknowledged + 1
            store.push(make_push(number, number - 1))
            digests[number] = store.snapshot(None).digest()
            acknowledged = number

    pushing = threading.Thread(target=push_on)
    pushing.start()
    copies = []

    def copy_what_is_there(source: str, target: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # a snapshot older than ``keep_versions``: nothing needs it
            shutil.copy2(source, target)

    try:
        for attempt in range(8):
            before = acknowledged
            limit = before + CONFIG.keep_versions - 2  # pushes while a copy is taken, of which fewer are promised
            copy = tmp_path / f"copy-{attempt}"
            # A file that is being written has such a name until it is whole, and is gone when its turn comes.
            ignored = shutil.ignore_patterns(".tmp-*")
            shutil.copytree(tmp_path / "graph-of-run", copy, ignore=ignored, copy_function=copy_what_is_there)
            copies.append((copy, before))
            while acknowledged < limit:
                time.sleep(0.001)
    finally:
        ended.set()
        pushing.join()
    for folder, before in copies:
        restored = open_store(folder)
        version = restored.snapshot(None).version
        assert before <= version <= acknowledged + 1
        assert restored.snapshot(None).digest() == digests[version]
        assert restored.push(make_push(version + 1, version)).version == version + 1
    assert copies[-1][1] > CONFIG.snapshot_every_pushes, "no copy was taken across a snapshot"


def test_what_happens_to_the_graph_is_recorded(tmp_path, recorded):
    store = open_store(tmp_path)
    store.push(make_push(1, 0))
    strength = store.snapshot(None).strength
    store.push(make_push(2, 1, kind=EvidenceKind.SAMPLES))
    store.push(make_push(3, 0, edges=()))
    store.push(make_push(1, 0))  # known already: nothing happens
    store.rollback("back", 1)
    counted = [(name, labels) for name, value, labels in recorded if name in {"gem_graph_pushes", "gem_graph_refusals"}]
    assert counted == [
        ("gem_graph_pushes", {"run": "run", "kind": "scores"}),
        ("gem_graph_pushes", {"run": "run", "kind": "samples"}),
        ("gem_graph_refusals", {"run": "run", "reason": "empty"}),
        ("gem_graph_pushes", {"run": "run", "kind": "rollback"}),
    ]
    # Only the first push moves what training follows: samples are evidence about the model.
    assert [value for name, value, _ in recorded if name == "gem_graph_churn"] == [pytest.approx(abs(strength).sum())]
    assert [value for name, value, _ in recorded if name == "gem_graph_version"] == [0, 1, 2, 3]
    assert [value for name, value, _ in recorded if name == "gem_graph_known_edges"] == [0, 1, 1, 1]
    confidence = [value for name, value, _ in recorded if name == "gem_graph_confidence"]
    assert confidence[0] == 0.0
    assert 0 < confidence[-1] <= 1 / 6
