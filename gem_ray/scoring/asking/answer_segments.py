"""Stored answers as rows: the file format of one segment, and the index in memory over the rows of all of them."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gem_ray.errors import DataError
from gem_ray.parquet_bytes import read_table
from gem_ray.scoring.asking.prompts import NUM_DIGITS

KEY_BYTES = 16
SUFFIX = ".parquet"
SCHEMA_VERSION = "1"
SCHEMA = pa.schema(
    {
        "key": pa.binary(KEY_BYTES),
        **{f"p{digit}": pa.float32() for digit in range(NUM_DIGITS)},
        "digit_mass": pa.float32(),
    },
    metadata={"schema_version": SCHEMA_VERSION},
)
ROW = np.dtype([("key", f"V{KEY_BYTES}"), ("p", "<f4", (NUM_DIGITS,)), ("mass", "<f4"), ("segment", "<i4")])
"""One answer in memory; ``segment`` is the number of the segment that holds it."""
MOST_RECENT = 16_384  # rows that wait in a dictionary before the sorted rows take them in

Rows = NDArray[np.void]


def encode_segment(rows: Rows) -> bytes:
    """A segment's bytes."""
    columns = [
        pa.FixedSizeBinaryArray.from_buffers(pa.binary(KEY_BYTES), len(rows), [None, _buffer(rows["key"])]),
        *(pa.array(np.ascontiguousarray(rows["p"][:, digit])) for digit in range(NUM_DIGITS)),
        pa.array(np.ascontiguousarray(rows["mass"])),
    ]
    buffer = io.BytesIO()
    # Hashes and the mantissas of probabilities do not compress; a dictionary would only make a segment larger.
    pq.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), buffer, use_dictionary=False, compression="zstd")
    return buffer.getvalue()


def decode_segment(data: bytes, name: str) -> Rows:
    """The rows of a segment.

    Raises:
        DataError: the bytes are not those the name was given for, are no segment, or hold what is no answer
    """
    if hashlib.sha256(data).hexdigest() != name.removesuffix(SUFFIX).rsplit("-", 1)[-1]:
        raise DataError(f"{name} does not match its sha256: the file is damaged")
    table = read_table(data, name)
    if not table.schema.equals(SCHEMA) or table.schema.metadata != SCHEMA.metadata:
        raise DataError(f"{name} is no segment of answers of schema version {SCHEMA_VERSION}")
    rows = np.zeros(table.num_rows, ROW)
    if any(table[column].null_count for column in table.column_names):
        raise DataError(f"{name} has rows with gaps")
    rows["key"] = np.frombuffer(b"".join(table["key"].to_pylist()), f"V{KEY_BYTES}")
    for digit in range(NUM_DIGITS):
        rows["p"][:, digit] = table[f"p{digit}"].to_numpy()
    rows["mass"] = table["digit_mass"].to_numpy()
    with np.errstate(invalid="ignore"):
        good = (rows["p"] >= 0).all(1) & (np.abs(rows["p"].sum(1) - 1) < 1e-3) & (rows["mass"] >= 0)
    if not (good & (rows["mass"] <= 1)).all():
        raise DataError(f"{name} holds probabilities that are no distribution")
    return rows


def segment_name(data: bytes) -> str:
    """Name of a new segment: names sort by time, and carry the hash of the bytes."""
    return f"{time.time_ns():020d}-{hashlib.sha256(data).hexdigest()}{SUFFIX}"


class AnswerIndex:
    """Rows by key. Most lie sorted in one array (56 bytes an answer); the newest wait in a dictionary.

    A later row of the same key takes the place of an earlier one.
    """

    def __init__(self) -> None:
        self._heads = np.zeros(0, np.uint64)  # the first eight bytes of each key, ascending
        self._rows = np.zeros(0, ROW)
        self._recent: dict[bytes, np.void] = {}

    def __len__(self) -> int:
        """Answers held; one that is both sorted and recent counts twice until it is folded."""
        return len(self._rows) + len(self._recent)

    def put(self, rows: Rows) -> None:
        """Take rows in."""
        if len(rows) > MOST_RECENT:
            self._fold(rows)
            return
        self._recent |= {key.tobytes(): row for key, row in zip(rows["key"], rows)}
        if len(self._recent) > MOST_RECENT:
            self._fold(np.zeros(0, ROW))

    def find(self, keys: Sequence[bytes]) -> list[np.void | None]:
        """The row of each key, None where there is none."""
        heads = _heads(np.frombuffer(b"".join(keys), f"V{KEY_BYTES}"))
        places = np.searchsorted(self._heads, heads)
        found: list[np.void | None] = []
        for key, place in zip(keys, places.tolist()):
            row = self._recent.get(key)
            # Two keys with equal heads are one in 10^19; the second of them would only be asked again.
            if row is None and place < len(self._rows) and self._rows[place]["key"].tobytes() == key:
                row = self._rows[place]
            found.append(row)
        return found

    def of_segments(self, numbers: Iterable[int]) -> Rows:
        """The rows of some segments."""
        self._fold(np.zeros(0, ROW))
        return self._rows[np.isin(self._rows["segment"], list(numbers))]

    def keep_segments(self, numbers: Iterable[int]) -> None:
        """Let go of all rows of other segments."""
        self._fold(np.zeros(0, ROW))
        keep = np.isin(self._rows["segment"], list(numbers))
        self._rows, self._heads = self._rows[keep], self._heads[keep]

    def _fold(self, rows: Rows) -> None:
        recent = np.array(list(self._recent.values()), ROW) if self._recent else np.zeros(0, ROW)
        if not len(recent) and not len(rows):
            return
        self._recent = {}
        # The stable order of a reversed array puts the newest row of a key first.
        merged = np.concatenate([self._rows, recent, rows])[::-1]
        heads = _heads(merged["key"])
        order = np.argsort(heads, kind="stable")
        heads, merged = heads[order], merged[order]
        first = np.concatenate([[True], (heads[1:] != heads[:-1]) | (merged["key"][1:] != merged["key"][:-1])])
        self._heads, self._rows = heads[first], merged[first]


def _heads(keys: Rows) -> NDArray[np.uint64]:
    return np.ascontiguousarray(keys).view(np.uint64).reshape(-1, KEY_BYTES // 8)[:, 0].copy()


def _buffer(keys: Rows) -> pa.Buffer:
    return pa.py_buffer(np.ascontiguousarray(keys).tobytes())
