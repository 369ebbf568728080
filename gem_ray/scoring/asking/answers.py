"""The run's store of answers: a frozen model's answer to a question never changes, so no question is asked twice.

Answers lie in the folder ``answers/`` as immutable Parquet segments with unique names, each the answers of a moment of
one process, so that writers need not know of each other. A segment's name carries its sha256; one that does not match
is left out and counted. Only answers are stored: what is missing is asked again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

import numpy as np

from gem_ray.errors import DataError, StorageError
from gem_ray.messages.questions import ScoreAnswer
from gem_ray.scoring.asking.answer_segments import (
    KEY_BYTES,
    ROW,
    SUFFIX,
    AnswerIndex,
    Rows,
    decode_segment,
    encode_segment,
    segment_name,
)
from gem_ray.storage import Storage

log = logging.getLogger(__name__)
MOST_SMALL = 64  # more small segments than this are written as one
SMALL_BYTES = 1_000_000
SMALL_SHARE = 16  # with a low bound a segment is small only under this part of it: whole segments are dropped
REFRESH_S = 5.0  # least seconds between two looks for segments of other processes
UNWRITTEN = 0  # number of the segment of rows that are not in storage yet


class StoredAnswers:
    """Answers by key, in memory and in a folder; may be called from several threads.

    Args:
        storage: the folder, which need not exist
        max_bytes: of all segments together; the oldest are dropped first, and 0 stores nothing

    Attributes:
        damaged: segments left out since their bytes do not match their name or are no answers

    Raises:
        StorageError: from every method, where the folder cannot be reached
    """

    def __init__(self, storage: Storage, max_bytes: int) -> None:
        self._storage, self._max_bytes = storage, max_bytes
        self._index = AnswerIndex()
        self._segments: dict[str, tuple[int, int]] = {}  # name: number, size in bytes
        self._next_number = UNWRITTEN + 1
        self._bad: dict[str, int] = {}  # name: size in bytes
        self._pending: list[Rows] = []
        self._lock, self._writing = threading.RLock(), threading.Lock()
        self._looked_at = -float("inf")

    def __len__(self) -> int:
        """Answers in memory."""
        with self._lock:
            return len(self._index)

    @property
    def damaged(self) -> int:
        """Segments that were left out."""
        return len(self._bad)

    @property
    def num_bytes(self) -> int:
        """Size of all segments, as far as is known here."""
        with self._lock:
            return sum(size for _, size in self._segments.values()) + sum(self._bad.values())

    def get(self, keys: Sequence[bytes]) -> list[ScoreAnswer | None]:
        """The stored answer of each key, None where there is none."""
        if self._max_bytes == 0 or not keys:
            return [None] * len(keys)
        with self._lock:
            rows = self._index.find(keys)
            if None in rows and time.monotonic() - self._looked_at > REFRESH_S:
                self.refresh()
                rows = self._index.find(keys)
        return [None if row is None else _answer(row) for row in rows]

    def add(self, keys: Sequence[bytes], answers: Sequence[ScoreAnswer]) -> None:
        """Store answers; those that are missing are not. They are in storage when this returns.

        While one thread writes, what others add waits, and is written together.
        """
        rows = _rows(keys, answers)
        if self._max_bytes == 0 or not len(rows):
            return
        with self._lock:
            self._index.put(rows)
            self._pending.append(rows)
        with self._writing:
            with self._lock:
                waiting = self._pending
                self._pending = []
            if not waiting:
                return
            try:
                self._write(np.concatenate(waiting))
            except StorageError:
                with self._lock:
                    self._pending = waiting + self._pending
                raise
            self._compact()
            self._make_room()

    def refresh(self) -> None:
        """Take in what other processes have written, and let go of what they have dropped."""
        with self._lock:
            sizes = {name: size for name, size in self._storage.sizes().items() if name.endswith(SUFFIX)}
            self._looked_at = time.monotonic()
            for name in sorted(sizes.keys() - self._segments.keys() - self._bad.keys()):
                self._take_in(name, sizes[name])
            if self._segments.keys() - sizes.keys():
                self._segments = {name: found for name, found in self._segments.items() if name in sizes}
                self._keep_known()
            self._bad = {name: size for name, size in self._bad.items() if name in sizes}

    def _take_in(self, name: str, size: int) -> None:
        try:
            rows = decode_segment(self._storage.read_bytes(name), name)
        except FileNotFoundError:
            return  # another process has just written it into a larger one
        except DataError as error:
            self._bad[name] = size
            log.warning("stored answers are left out and will be asked for again: %s/%s", self._storage.uri, error)
            return
        self._know(name, size, rows)

    def _know(self, name: str, size: int, rows: Rows) -> None:
        with self._lock:
            rows["segment"] = self._next_number
            self._segments[name] = (self._next_number, size)
            self._next_number += 1
            self._index.put(rows)

    def _write(self, rows: Rows) -> None:
        data = encode_segment(rows)
        name = segment_name(data)
        self._storage.write_bytes(name, data)
        self._know(name, len(data), rows.copy())

    def _compact(self) -> None:
        """Write many small segments as one; the small ones go once that is in storage."""
        with self._lock:
            bound = min(SMALL_BYTES, self._max_bytes // SMALL_SHARE)
            small = [name for name, (_, size) in self._segments.items() if size < bound]
            if len(small) <= MOST_SMALL:
                return
            rows = self._index.of_segments({self._segments[name][0] for name in small})
        if len(rows):
            self._write(rows)
        self._delete(small)

    def _make_room(self) -> None:
        if self.num_bytes <= self._max_bytes:
            return
        self.refresh()
        oldest = sorted([*self._segments, *self._bad])
        left = self.num_bytes
        drop: list[str] = []
        for name in oldest:
            if left <= self._max_bytes:
                break
            left -= self._segments[name][1] if name in self._segments else self._bad[name]
            drop.append(name)
        self._delete(drop)

    def _delete(self, names: Sequence[str]) -> None:
        with self._lock:
            for name in names:
                self._segments.pop(name, None)
                self._bad.pop(name, None)
            self._keep_known()
        for name in names:
            try:
                self._storage.delete(name)
            except FileNotFoundError:
                log.debug("%s was deleted by another process", name)

    def _keep_known(self) -> None:
        self._index.keep_segments({UNWRITTEN, *(number for number, _ in self._segments.values())})


def _rows(keys: Sequence[bytes], answers: Sequence[ScoreAnswer]) -> Rows:
    real = [(key, answer) for key, answer in zip(keys, answers, strict=True) if answer.probabilities is not None]
    rows = np.zeros(len(real), ROW)
    if real:
        rows["key"] = np.frombuffer(b"".join(key for key, _ in real), f"V{KEY_BYTES}")
        rows["p"] = [answer.probabilities for _, answer in real]
        rows["mass"] = [answer.digit_mass for _, answer in real]
    return rows


def _answer(row: np.void) -> ScoreAnswer:
    p = row["p"].astype(np.float64)
    return ScoreAnswer(probabilities=tuple((p / p.sum()).tolist()), digit_mass=float(row["mass"]), stored=True)
