"""Numbers and ids of a graph in strict JSON, to the last bit, and back with every type checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def encode_float(x: float) -> float | str | None:
    """A float for strict JSON: NaN (unknown) as null, infinity as a string."""
    if math.isnan(x):
        return None
    return x if math.isfinite(x) else str(x)


def decode_float(x: float | str | None) -> float:
    """Inverse of ``encode_float``; ValueError or TypeError for anything it does not write."""
    if x is None:
        return math.nan
    if isinstance(x, bool) or (isinstance(x, str) and x not in {"inf", "-inf"}):
        raise ValueError(f"{x!r} is not a number")
    return float(x)


def encode_array(array: NDArray[np.float64]) -> list[list[float | str | None]]:
    """A matrix as nested lists."""
    return [[encode_float(x) for x in row] for row in array.tolist()]


def decode_array(rows: Any) -> NDArray[np.float64]:
    """Inverse of ``encode_array``; ValueError or TypeError for anything else."""
    return np.array([[decode_float(x) for x in row] for row in rows], dtype=np.float64)


def decode_integers(rows: Any, name: str) -> NDArray[np.int64]:
    """A matrix of whole numbers; ValueError for any other number, with the name in the message."""
    array = np.array(rows)
    if array.dtype.kind != "i":
        raise ValueError(f"{name} must hold whole numbers")
    return array.astype(np.int64)


def decode_ids(rows: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Rows of ids, frozen."""
    return tuple(tuple(row) for row in rows)
