"""Both journals behind one set of tests, and what only files do: torn tails, locks, full disks."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gem_ray.config import StorageConfig
from gem_ray.errors import GraphError, StorageError
from gem_ray.graph import journal as journal_module
from gem_ray.graph.journal import FileJournal, ObjectJournal
from gem_ray.graph.record import Record
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push
from gem_ray.storage import Storage


def make_record(version: int, operation_id: str | None = None) -> Record:
    edge = EdgeUpdate(source="male", target="beard", strength=0.1, standard_error=0.1, num_observations=3)
    push_id = operation_id or f"p{version}"
    push = Push(push_id=push_id, base_version=0, kind=EvidenceKind.SCORES, edges=(edge,), evidence_id="e")
    return Record(version=version, operation_id=push_id, time_s=1.0, max_change=1.0, push=push)


def open_journal(kind: str, folder: Path):
    journal = FileJournal(folder) if kind == "files" else ObjectJournal(Storage(str(folder), StorageConfig()))
    journal.open(0)
    return journal


@pytest.fixture(params=["files", "objects"])
def kind(request) -> str:
    return request.param


def test_reopened_journal_has_every_record(kind, tmp_path):
    records = [make_record(version) for version in range(1, 8)]
    journal = open_journal(kind, tmp_path)
    for record in records[:5]:
        assert journal.append(record)
    assert journal.read(0) == records[:5]
    journal.close()
    journal = open_journal(kind, tmp_path)
    for record in records[5:]:
        assert journal.append(record)
    assert journal.read(0) == records
    assert journal.read(4) == records[4:]
    assert journal.read(7) == []


def test_records_are_kept_over_rolls_and_dropped_when_told(kind, tmp_path):
    journal = open_journal(kind, tmp_path)
    for version in range(1, 11):
        journal.append(make_record(version))
        if version % 3 == 0:
            journal.roll(version)
    journal.drop(6)
    assert [record.version for record in journal.read(6)] == [7, 8, 9, 10]
    journal.close()
    journal = open_journal(kind, tmp_path)
    assert [record.version for record in journal.read(8)] == [9, 10]
    with pytest.raises(GraphError, match="no version 1 "):
        journal.read(0)


def test_missing_record_is_noticed(tmp_path):
    journal = open_journal("objects", tmp_path)
    for version in (1, 2, 3):
        journal.append(make_record(version))
    (tmp_path / "journal" / "000000000002").unlink()
    with pytest.raises(GraphError, match="no version 2 but goes on at 3"):
        journal.read(0)


def test_missing_segment_is_noticed(tmp_path):
    journal = open_journal("files", tmp_path)
    for version in (1, 2, 3):
        journal.append(make_record(version))
        journal.roll(version)
    (tmp_path / "journal-000000000001").unlink()
    with pytest.raises(GraphError, match="no version 2 but goes on at 3"):
        journal.read(0)


def test_torn_tail_is_cut_off_and_written_over(tmp_path):
    journal = open_journal("files", tmp_path)
    for version in (1, 2, 3):
        journal.append(make_record(version))
    journal.close()
    path = tmp_path / "journal-000000000000"
    path.write_bytes(path.read_bytes()[:-5])
    journal = open_journal("files", tmp_path)
    assert [record.version for record in journal.read(0)] == [1, 2]
    journal.append(make_record(3, "again"))
    assert [record.operation_id for record in journal.read(0)] == ["p1", "p2", "again"]


def test_torn_tail_of_an_older_segment_is_damage(tmp_path):
    journal = open_journal("files", tmp_path)
    journal.append(make_record(1))
    journal.roll(1)
    journal.append(make_record(2))
    path = tmp_path / "journal-000000000000"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(GraphError, match="damaged"):
        journal.read(0)


def test_damaged_object_is_noticed(tmp_path):
    journal = open_journal("objects", tmp_path)
    journal.append(make_record(1))
    path = tmp_path / "journal" / "000000000001"
    data = path.read_bytes()
    for bad in (data[:-1], data + data, b"", data.replace(b"male", b"mole")):
        path.write_bytes(bad)
        with pytest.raises(GraphError, match="damaged"):
            journal.read(0)


def test_object_that_is_gone_since_it_was_listed_is_named(tmp_path, monkeypatch):
    journal = open_journal("objects", tmp_path)
    journal.append(make_record(1))
    monkeypatch.setattr(journal, "_versions", lambda: [1, 2])
    with pytest.raises(GraphError, match="journal/000000000002 is gone since it was listed"):
        journal.read(0)


def test_one_of_many_writers_gets_a_version(tmp_path):
    journals = [open_journal("objects", tmp_path) for _ in range(16)]
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda pair: pair[1].append(make_record(1, f"w{pair[0]}")), enumerate(journals)))
    assert won.count(True) == 1
    assert journals[0].read(0)[0].operation_id == f"w{won.index(True)}"


def test_folder_is_held_by_one_journal_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "LOCK_WAIT_S", 0.1)
    first = open_journal("files", tmp_path)
    with pytest.raises(GraphError, match=r"held by process \d+: is a run of this name in progress"):
        FileJournal(tmp_path)
    first.close()
    open_journal("files", tmp_path).close()


def test_leftovers_of_killed_writes_are_removed(tmp_path):
    (tmp_path / ".tmp-abc").write_bytes(b"half a snapshot")
    open_journal("files", tmp_path)
    assert not (tmp_path / ".tmp-abc").exists()


def test_a_fault_while_the_folder_is_opened_does_not_keep_it_held(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "LOCK_WAIT_S", 0.1)
    (tmp_path / ".tmp-abc").mkdir()  # cannot be unlinked
    for _ in range(2):
        with pytest.raises(StorageError, match=f"cannot open {tmp_path}"):
            FileJournal(tmp_path)
    (tmp_path / ".tmp-abc").rmdir()
    open_journal("files", tmp_path).close()


def test_faults_of_the_disk_are_storage_errors_that_name_the_path(tmp_path):
    folder = tmp_path / "graph"
    journal = open_journal("files", folder)
    journal.append(make_record(1))
    journal.roll(1)
    oldest = folder / "journal-000000000000"
    oldest.unlink()
    oldest.mkdir()
    with pytest.raises(StorageError, match=f"cannot read {oldest}: Is a directory"):
        journal.read(0)
    with pytest.raises(StorageError, match=f"cannot delete {oldest}"):
        journal.drop(1)
    shutil.rmtree(folder)
    for use in (journal.read, journal.drop, journal.open):
        with pytest.raises(StorageError, match=f"cannot list {folder}: No such file"):
            use(0)


def test_full_disk_refuses_the_record_and_keeps_the_rest(tmp_path):
    # A limit on the size of files stands in for a full disk: the write comes back short, then fails.
    script = textwrap.dedent(f"""
        import resource, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_journal import make_record, open_journal
        from gem_ray.errors import StorageError
        from pathlib import Path
        journal = open_journal("files", Path({str(tmp_path)!r}))
        size = len(make_record(1).to_bytes())
        journal.append(make_record(1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, resource.RLIM_INFINITY))
        for _ in range(3):
            try:
                journal.append(make_record(2, "refused"))
            except StorageError as error:
                assert "not accepted" in str(error)
            else:
                sys.exit("a full disk took the record")
            assert [record.version for record in journal.read(0)] == [1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert journal.append(make_record(2, "later"))
        assert [record.operation_id for record in journal.read(0)] == ["p1", "later"]
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert [record.operation_id for record in open_journal("files", tmp_path).read(0)] == ["p1", "later"]
