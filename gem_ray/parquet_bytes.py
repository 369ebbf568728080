"""Parquet files from storage, which may be damaged or somebody else's."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from gem_ray.errors import DataError


def read_table(data: bytes, where: str, columns: Iterable[str] = ()) -> pa.Table:
    """The table in the bytes of a Parquet file.

    Args:
        where: name of the file in messages
        columns: what it must have, without gaps

    Raises:
        DataError: no Parquet file, a column that is missing or has gaps
    """
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{where} is not a readable Parquet file: {str(error).partition(chr(10))[0]}") from error
    for name in columns:
        if table.column_names.count(name) != 1 or table[name].null_count:
            raise DataError(f"{where} is not what gem_ray wrote: column {name!r} is missing or has gaps")
    return table
