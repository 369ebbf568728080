"""The arrays that every metric takes: codes [N, L] and factors [N, F], one row per image.

Factors are classes: numbers or strings, whatever their values. A factor that never varies has no entropy to share, and
one with a value of its own on every point is continuous: both would give a number that means nothing, so both raise.
Constant ("dead") codes are legal everywhere: each metric says what it makes of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import DataError


def checked_codes(codes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Codes [N, L] as float64.

    Raises:
        DataError: not two-dimensional, fewer than 2 codes or 2 points, or a value that is not finite
    """
    result = np.asarray(codes, dtype=np.float64)
    if result.ndim != 2 or result.shape[0] < 2 or result.shape[1] < 2:
        raise DataError(f"codes of shape {result.shape}: the metrics take [points, codes], at least 2 of each")
    if not np.isfinite(result).all():
        bad = np.unique(np.nonzero(~np.isfinite(result))[1]).tolist()
        raise DataError(f"codes {bad} hold NaN or infinity: the model has diverged, or a file is corrupt")
    return result


def factor_classes(*factors: NDArray[np.generic]) -> tuple[NDArray[np.int64], ...]:
    """Class numbers 0 .. C_k - 1 of factors [N_i, F], in the order of the values that occur in any of the arrays.

    Raises:
        DataError: not two-dimensional, of differing widths, with NaN, constant in the first array, or with more values
            than half the points there
    """
    arrays = [np.asarray(one) for one in factors]
    widths = {one.shape[1:] for one in arrays}
    if any(one.ndim != 2 for one in arrays) or len(widths) != 1 or widths == {(0,)}:
        raise DataError(f"factors of shapes {[one.shape for one in arrays]}: give [points, factors], all of one width")
    if any(one.dtype.kind == "f" and np.isnan(one).any() for one in arrays):
        raise DataError("factors hold NaN: leave out points whose factors are not known")
    stacked = np.concatenate(arrays)
    classes = np.stack([np.unique(column, return_inverse=True)[1] for column in stacked.T], axis=1).astype(np.int64)
    split = np.split(classes, np.cumsum([len(one) for one in arrays])[:-1])
    for index, column in enumerate(split[0].T):
        num_values = len(np.unique(column))
        if num_values < 2:
            raise DataError(f"factor {index} has one value on all points: leave it out (see varying_factors)")
        if num_values > len(column) / 2:
            raise DataError(f"factor {index} has {num_values} values on {len(column)} points: bin it first")
    return tuple(split)


def varying_factors(factors: NDArray[np.generic]) -> list[int]:
    """Columns of factors [N, F] with at least two values: a reduced grid, or dSprites' colour, has others."""
    return [index for index, column in enumerate(np.asarray(factors).T) if len(np.unique(column)) > 1]


def check_rows(codes: NDArray[np.generic], factors: NDArray[np.generic]) -> None:
    """Raise DataError where codes and factors are not of the same points."""
    if len(codes) != len(factors):
        raise DataError(f"{len(codes)} points have codes and {len(factors)} have factors: give the same points to both")


def moving_codes(codes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mask [L] of codes that vary at all; exact, where a variance over equal values may round to more than 0."""
    return np.ptp(codes, axis=0) > 0
