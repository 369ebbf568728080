"""The durable log of accepted changes to a DisGraph: one record a version, on disk before anyone is told.

``FileJournal`` appends to files in a local folder (checksummed frames, fsync); ``ObjectJournal`` creates one object a
record in remote storage, where the conditional create makes a second writer of the same version lose. Both keep what
``read`` needs until ``drop``. A torn last frame was never acknowledged and is cut off; any other damage is an error.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from gem_ray.errors import GraphError, StorageError
from gem_ray.graph.record import Record, damaged, parse
from gem_ray.storage import Storage

LOCK_WAIT_S = 5.0  # a killed holder's lock is free as soon as the kernel has buried it
PARALLEL_READS = 16


class Journal(Protocol):
    """What the store needs of a journal. Raises StorageError where storage fails, GraphError where it is damaged."""

    def open(self, version: int) -> None:
        """Get ready to append after ``version``."""

    def read(self, after: int) -> list[Record]:
        """All records with a version above ``after``, in order and without a gap."""

    def append(self, record: Record) -> bool:
        """Make the record durable; False where its version is already written (``read`` tells by whom)."""

    def roll(self, version: int) -> None:
        """A snapshot of ``version`` is durable: later records may go to a new file."""

    def drop(self, through: int) -> None:
        """Records up to ``through`` are needed no longer."""

    def close(self) -> None:
        """Let another process open the journal."""


class FileJournal:
    """Segments ``journal-<version of the snapshot before>`` in a local folder, held by one process at a time.

    Raises:
        GraphError: another living process holds the folder
        StorageError: the folder cannot be made or written
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = self._lock = -1
        self._length = 0
        self._dirty = False
        with contextlib.ExitStack() as undo, _storage_errors(f"open {folder}"):
            undo.callback(self.close)
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
            self._acquire()
            for leftover in folder.glob(".tmp-*"):
                leftover.unlink(missing_ok=True)
            undo.pop_all()

    def open(self, version: int) -> None:
        """Append to the newest segment, its torn tail cut off, or to a first one."""
        self._start_segment(max(self._segments(), default=version))

    def read(self, after: int) -> list[Record]:
        """See ``Journal``; a frame that is just being written is not there yet."""
        segments = self._segments()
        records: list[Record] = []
        for position, base in enumerate(segments):
            newest = position == len(segments) - 1
            if newest or segments[position + 1] > after:
                path = self._path(base)
                with _storage_errors(f"read {path}"):
                    data = path.read_bytes()
                found, length = parse(data, str(path))
                if length < len(data) and not newest:
                    raise damaged(str(path), length)
                records += found
        return _chain(records, after)

    def append(self, record: Record) -> bool:
        """See ``Journal``; after a failed write the file is cut back before the next one."""
        frame = record.to_bytes()
        try:
            self._write(frame)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._length)
            raise StorageError(
                f"cannot write version {record.version} to the journal in {self._folder}: {error.strerror}; "
                "the change is not accepted; free some space or check the disk, then send it again"
            ) from error
        self._length += len(frame)
        return True

    def roll(self, version: int) -> None:
        """See ``Journal``."""
        self._start_segment(version)

    def drop(self, through: int) -> None:
        """See ``Journal``; a segment goes when all of its records do."""
        segments = self._segments()
        for base, following in itertools.pairwise(segments):
            if following <= through:
                with _storage_errors(f"delete {self._path(base)}"):
                    self._path(base).unlink(missing_ok=True)

    def close(self) -> None:
        """See ``Journal``."""
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock = -1

    def _acquire(self) -> None:
        end = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    holder = os.pread(self._lock, 32, 0).decode(errors="replace")
                    raise GraphError(
                        f"{self._folder} is held by process {holder}: is a run of this name in progress? "
                        "Stop it, or choose another run.name"
                    ) from None
                time.sleep(0.05)
            else:
                with contextlib.suppress(OSError):  # a full disk has no room for the name of the holder
                    os.ftruncate(self._lock, 0)
                    os.pwrite(self._lock, str(os.getpid()).encode(), 0)
                return

    def _write(self, frame: bytes) -> None:
        if self._dirty:
            os.ftruncate(self._file, self._length)
        self._dirty = True
        written = 0
        while written < len(frame):
            written += os.pwrite(self._file, frame[written:], self._length + written)
        os.fsync(self._file)
        self._dirty = False

    def _start_segment(self, base: int) -> None:
        path = self._path(base)
        with contextlib.ExitStack() as undo, _storage_errors(f"open {path}"):
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            undo.callback(os.close, file)
            _, length = parse(path.read_bytes(), str(path))
            os.ftruncate(file, length)
            os.fsync(file)
            folder = os.open(self._folder, os.O_RDONLY)
            os.fsync(folder)  # the new name must survive a power cut too
            os.close(folder)
            undo.pop_all()
        if self._file >= 0:
            os.close(self._file)
        self._file, self._length, self._dirty = file, length, False

    def _segments(self) -> list[int]:
        with _storage_errors(f"list {self._folder}"):
            names = os.listdir(self._folder)
        return sorted(int(match[1]) for name in names if (match := re.fullmatch(r"journal-(\d{12})", name)))

    def _path(self, base: int) -> Path:
        return self._folder / f"journal-{base:012d}"


class ObjectJournal:
    """One object ``journal/<version>`` a record; ``create_bytes`` lets one writer of a version win.

    An older incarnation of the store that is still alive therefore cannot overwrite or fork anything: its next push
    finds the version taken, and it catches up. This holds for a writer up to ``keep_versions`` behind.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def open(self, version: int) -> None:
        """Nothing to do: every record is an object of its own."""

    def read(self, after: int) -> list[Record]:
        """See ``Journal``."""
        names = [self._name(version) for version in self._versions() if version > after]
        with ThreadPoolExecutor(PARALLEL_READS) as pool:
            return _chain(list(pool.map(self._read, names)), after)

    def append(self, record: Record) -> bool:
        """See ``Journal``; also False where an earlier try of ours arrived and only its answer was lost."""
        return self._storage.create_bytes(self._name(record.version), record.to_bytes())

    def roll(self, version: int) -> None:
        """Nothing to do."""

    def drop(self, through: int) -> None:
        """See ``Journal``."""
        for version in self._versions():
            if version <= through:
                self._storage.delete(self._name(version))

    def close(self) -> None:
        """Nothing to do."""

    def _read(self, name: str) -> Record:
        try:
            data = self._storage.read_bytes(name, _is_whole)
        except FileNotFoundError as error:
            raise GraphError(
                f"{self._storage.uri}/{name} is gone since it was listed: another store of this run has dropped it; "
                "ask again"
            ) from error
        records, length = parse(data, f"{self._storage.uri}/{name}")
        if length != len(data) or len(records) != 1:
            raise damaged(f"{self._storage.uri}/{name}", length)
        return records[0]

    def _versions(self) -> list[int]:
        return [int(m[1]) for name in self._storage.list("journal") if (m := re.fullmatch(r"journal/(\d{12})", name))]

    @staticmethod
    def _name(version: int) -> str:
        return f"journal/{version:012d}"


def open_journal(storage: Storage) -> Journal:
    """The journal that fits a graph folder's kind of storage."""
    return FileJournal(storage.local_path) if storage.is_local else ObjectJournal(storage)


@contextlib.contextmanager
def _storage_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot {what}: {error.strerror}; check the path, the space and the permissions") from error


def _is_whole(data: bytes) -> bool:
    try:
        return parse(data, "")[1] == len(data) > 0
    except GraphError:
        return False


def _chain(records: list[Record], after: int) -> list[Record]:
    chain = [record for record in records if record.version > after]
    for expected, record in enumerate(chain, start=after + 1):
        if record.version != expected:
            raise GraphError(
                f"the journal has no version {expected} but goes on at {record.version}: a file of it is missing; "
                "restore it, or go back to an older graph by deleting the later files"
            )
    return chain
