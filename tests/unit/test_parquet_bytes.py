"""Tables out of bytes: whole ones arrive, and anything else names the file."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gem_ray.errors import DataError
from gem_ray.parquet_bytes import read_table


def bytes_of(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def test_a_whole_table_arrives():
    table = pa.table({"a": [1, 2], "b": ["x", "y"]})
    assert read_table(bytes_of(table), "it", ["a", "b"]).equals(table)


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_a_cut_file_is_named(cut):
    with pytest.raises(DataError, match=r"part-3 is not a readable Parquet file"):
        read_table(bytes_of(pa.table({"a": [1, 2]}))[:cut], "part-3")


@pytest.mark.parametrize("table", [pa.table({"b": [1]}), pa.table({"a": pa.array([1, None])})])
def test_a_column_that_is_missing_or_has_gaps_is_named(table):
    with pytest.raises(DataError, match=r"part-3 .*column 'a'"):
        read_table(bytes_of(table), "part-3", ["a"])
