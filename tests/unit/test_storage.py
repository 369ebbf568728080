"""One folder of storage: whole or invisible writes, names that stay inside, retries, and errors with the remedy."""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from gem_ray.config import StorageConfig
from gem_ray.errors import StorageError
from gem_ray.storage import ByteRange, Storage


@pytest.fixture(params=["path", "file", "memory"])
def storage(request, tmp_path):
    """The same folder behind three kinds of URI."""
    uri = {"path": str(tmp_path), "file": f"file://{tmp_path}", "memory": f"memory://{tmp_path.name}"}[request.param]
    return Storage(uri, StorageConfig())


def test_what_is_written_is_read(storage):
    storage.write_bytes("a/b/c.bin", b"one")
    storage.write_bytes("a/b/c.bin", b"two")
    assert storage.read_bytes("a/b/c.bin") == b"two"
    assert storage.exists("a/b/c.bin")
    assert not storage.exists("a/b/d.bin")


def test_a_missing_object_stays_a_file_not_found_error(storage):
    with pytest.raises(FileNotFoundError):
        storage.read_bytes("missing")


def test_listing_gives_sorted_names_with_sizes(storage):
    for name in ("b", "a/2", "a/10"):
        storage.write_bytes(name, name.encode())
    assert storage.list() == ["a/10", "a/2", "b"]
    assert storage.list("a") == ["a/10", "a/2"]
    assert storage.list("nowhere") == []
    assert storage.sizes() == {"a/10": 4, "a/2": 3, "b": 1}


def test_deleting_takes_one_object_or_a_whole_folder(storage):
    for name in ("a/1", "a/2", "b"):
        storage.write_bytes(name, b"x")
    storage.delete("a")
    storage.delete("nowhere")
    assert storage.list() == ["b"]


def test_folders_are_those_right_below(storage):
    for name in ("a/two/x", "a/one/y", "a/one/deep/z", "a/file", "b/three/x"):
        storage.write_bytes(name, b"1")
    assert storage.folders("a") == ["a/one", "a/two"]
    assert storage.folders("nowhere") == []


def test_a_child_is_the_folder_below(storage):
    storage.child("a").write_bytes("b", b"x")
    assert storage.list() == ["a/b"]
    assert storage.child("a").list() == ["b"]


def test_ranges_are_read_together(storage):
    storage.write_bytes("a", b"0123456789")
    storage.write_bytes("b", b"abc")
    ranges = [ByteRange("a", 2, 5), ByteRange("b", 0, 3), ByteRange("a", 9, 10)]
    assert storage.read_ranges(ranges) == [b"234", b"abc", b"9"]
    assert storage.read_ranges([]) == []


def test_a_range_beyond_the_end_is_a_fault(storage):
    storage.write_bytes("a", b"0123")
    quick = Storage(storage.uri, StorageConfig(attempts=1))
    with pytest.raises(StorageError, match="a gave 2 bytes of 8"):
        quick.read_ranges([ByteRange("a", 2, 10)])


class OneAtATime(MemoryFileSystem):
    """Answers the first of many ranges and refuses the others, as a store does that is asked too much."""

    protocol, cachable = "memory", False
    asked: ClassVar[list[int]] = []

    def cat_ranges(self, paths, starts, ends, **options):
        self.asked.append(len(paths))
        answers = super().cat_ranges(paths, starts, ends, **options)
        return answers[:1] + [
            found if isinstance(found, FileNotFoundError) else OSError("slow down") for found in answers[1:]
        ]


def test_a_try_reads_only_what_the_ones_before_missed(monkeypatch):
    monkeypatch.setattr("gem_ray.storage_retries.time.sleep", lambda seconds: None)
    storage = Storage("memory://ranges", StorageConfig(attempts=3))
    storage.write_bytes("a", b"0123456789")
    storage.__dict__["fs"] = OneAtATime()
    ranges = [ByteRange("a", start, start + 2) for start in range(4)]
    assert storage.read_ranges(ranges[:3]) == [b"01", b"12", b"23"]
    assert OneAtATime.asked == [3, 2, 1]
    with pytest.raises(StorageError, match=r"try 3 of 3.*slow down"):
        storage.read_ranges(ranges)
    with pytest.raises(FileNotFoundError, match="b"):
        storage.read_ranges([*ranges, ByteRange("b", 0, 1)])
    assert OneAtATime.asked[6:] == [5]


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a//b", "", ".", "a/.", "a\\b", "a\0b", "s3://b/x"])
def test_names_cannot_leave_the_folder(storage, name):
    for action in (
        storage.read_bytes,
        storage.exists,
        storage.delete,
        storage.child,
        lambda n: storage.write_bytes(n, b""),
    ):
        with pytest.raises(StorageError, match="is not a name inside"):
            action(name)


def test_creating_happens_once_among_racing_writers(tmp_path):
    storage, start = Storage(str(tmp_path), StorageConfig()), threading.Barrier(16)

    def create(writer: int) -> bool:
        start.wait()
        return storage.create_bytes("lock", str(writer).encode() * 1000)

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(16)))
    assert sum(won) == 1
    assert storage.read_bytes("lock") == str(won.index(True)).encode() * 1000
    assert storage.create_bytes("lock", b"late") is False


def test_a_failed_write_leaves_the_old_object_and_nothing_else(tmp_path, monkeypatch):
    storage = Storage(str(tmp_path), StorageConfig())
    storage.write_bytes("a", b"old")

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StorageError, match="cannot write a in .*No space left on device"):
        storage.write_bytes("a", b"new")
    assert storage.read_bytes("a") == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_leftover_of_a_killed_writer_is_not_listed(tmp_path):
    storage = Storage(str(tmp_path), StorageConfig())
    storage.write_bytes("a/b", b"x")
    (tmp_path / "a" / ".tmp-0123").write_bytes(b"half")
    assert storage.list() == ["a/b"]
    assert list(storage.sizes()) == ["a/b"]


def test_written_files_follow_the_umask_of_the_process(tmp_path):
    before = os.umask(0o022)
    try:
        Storage(str(tmp_path), StorageConfig()).write_bytes("a", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_a_file_where_a_folder_must_be_is_an_error_and_not_an_existing_object(tmp_path):
    storage = Storage(str(tmp_path), StorageConfig())
    storage.write_bytes("a", b"x")
    with pytest.raises(StorageError, match="is a file, not a folder"):
        storage.create_bytes("a/b", b"x")
    with pytest.raises(StorageError, match="is a file, not a folder"):
        storage.write_bytes("a/b", b"x")


def test_what_arrives_damaged_is_read_again_and_given_as_it_is_in_the_end(recorded):
    storage = Storage("memory://damaged", StorageConfig(attempts=4))
    storage.write_bytes("a", b"stored")
    seen: list[bytes] = []
    assert storage.read_bytes("a", lambda data: seen.append(data) or len(seen) == 3) == b"stored"
    assert seen == [b"stored"] * 3
    assert storage.read_hashed("a", "another") == (b"stored", hashlib.sha256(b"stored").hexdigest())
    assert recorded == [("gem_storage_retries", 1.0, {"operation": "check"})] * (2 + 3)


def test_the_client_of_s3_gives_up_a_silent_server_also_in_another_process():
    storage = Storage("s3://bucket/folder", StorageConfig(timeout_s=3.0))
    for each in (storage, pickle.loads(pickle.dumps(storage))):
        assert each.fs.retries == 2
        assert each.fs.config_kwargs["read_timeout"] == 3.0
        assert each.fs.config_kwargs["retries"] == {"total_max_attempts": 1}


def test_a_storage_can_be_sent_to_another_process(storage):
    storage.write_bytes("a", b"x")
    sent = pickle.loads(pickle.dumps(storage))
    assert sent.uri == storage.uri
    assert sent.root == storage.root


def test_relative_paths_mean_the_folder_the_process_started_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage = Storage("data/faces", StorageConfig())
    storage.write_bytes("a", b"x")
    assert (tmp_path / "data" / "faces" / "a").read_bytes() == b"x"
    assert storage.local_path == tmp_path / "data" / "faces"


def test_only_local_folders_have_a_path():
    with pytest.raises(StorageError, match="memory://x is not a local folder"):
        _ = Storage("memory://x", StorageConfig()).local_path
