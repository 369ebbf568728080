"""Somers' D of contingency tables, and its jackknife over the images behind them.

All pairs of n attributes at once. A table may hold counts of levels, or expected counts: the mean over images of the
products of two digit distributions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONSTANT = 1e-9  # an attribute whose distribution varies less than this over the images shows no relation
CHUNK = 256  # images: a chunk's products with all attributes stay in a core's cache
ONE_HOT_BYTES = 64_000_000


@dataclass(frozen=True)
class Estimates:
    """Arrays [n, n] indexed [source, target]; 0 and infinity where source or target is constant.

    Args:
        strength: Somers' D of target given source
        standard_error: by the delete-one jackknife, never below 1/N: a table without one counterexample would
            otherwise claim an error of 0. Infinite where a single image carries the whole relation.
    """

    strength: NDArray[np.float64]
    standard_error: NDArray[np.float64]


def somers_d(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Somers' D of columns given rows.

    Args:
        table: [..., rows, columns] counts or probabilities, both scales ascending

    Returns:
        [...] in [-1, 1]; 0 where all mass lies in one row (the relation is not defined)
    """
    rows = table.sum(-1)
    not_tied = rows.sum(-1) ** 2 - (rows**2).sum(-1)
    concordance = (table * _signs(table)).sum((-2, -1))
    d = np.divide(concordance, not_tied, out=np.zeros_like(not_tied, dtype=np.float64), where=not_tied > 0)
    # Of two attributes that agree entirely it may round to 1 + 2e-16, for which the store would refuse all edges.
    return np.clip(d, -1.0, 1.0)


def jackknife_error(
    total: NDArray[np.float64], squares: NDArray[np.float64], count: NDArray[np.number]
) -> NDArray[np.float64]:
    """Standard error from sums over N images: of the delete-one estimates minus the whole one, and of their squares."""
    count = np.maximum(count, 2.0)
    variance = (count - 1) / count * (squares - total**2 / count)
    return np.maximum(np.sqrt(np.maximum(variance, 0.0)), 1.0 / count)


def estimates_of_levels(levels: NDArray[np.integer], num_levels: int) -> Estimates:
    """Relations of attributes that take few values, exact.

    Args:
        levels: [N, n] from 0 up to below ``num_levels``, in the order of the values; -1 where missing
    """
    num_images, n = levels.shape
    tables = np.zeros((n * num_levels, n * num_levels))
    step = max(1, ONE_HOT_BYTES // (8 * n * num_levels))
    for start in range(0, num_images, step):
        one_hot = (levels[start : start + step, :, None] == np.arange(num_levels)).reshape(-1, n * num_levels)
        tables += (part := one_hot.astype(np.float64)).T @ part
    counts = tables.reshape(n, num_levels, n, num_levels).transpose(0, 2, 1, 3)
    rows = counts.sum(-1)
    count = rows.sum(-1)
    several = ((rows > 0).sum(-1) > 1) & ((counts.sum(-2) > 0).sum(-1) > 1)
    defined = several & ~np.eye(n, dtype=bool)
    signs = _signs(counts)
    numerator = (counts * signs).sum((-2, -1))
    # All images of a cell leave the same table behind: one term a cell, as many times as it has images.
    left_numerator = numerator[..., None, None] - 2 * signs
    left_denominator = ((count - 1) ** 2 - (rows**2).sum(-1) - 1)[..., None] + 2 * rows
    pairs_left = left_denominator > 0
    whole = somers_d(counts)
    left = left_numerator / np.where(pairs_left, left_denominator, 1.0)[..., None]
    difference = np.where(pairs_left[..., None], left - whole[..., None, None], 0.0)
    total, squares = ((counts * difference**power).sum((-2, -1)) for power in (1, 2))
    hangs_on_one = ((rows > 0) & ~pairs_left).any(-1)
    error = np.where(defined & ~hangs_on_one, jackknife_error(total, squares, count), np.inf)
    return Estimates(np.where(defined, whole, 0.0), error)


def estimates_of_distributions(p: NDArray[np.float64], known: NDArray[np.bool_]) -> Estimates:
    """Relations of digit distributions, by the expected contingency table of each pair.

    Exact in O(N n^2 digits^2), with temporaries bounded by ``CHUNK`` images.

    Args:
        p: [N, n, digits], 0 where missing
        known: [N, n]
    """
    num_images, n, digits = p.shape
    present = known.astype(np.float64)
    count = present.T @ present
    flat = p.reshape(num_images, n * digits)
    tables = (flat.T @ flat).reshape(n, digits, n, digits).transpose(0, 2, 1, 3)
    tables /= np.maximum(count, 1.0)[:, :, None, None]
    rows = tables.sum(-1)  # [i, j, a]: distribution of i over the images in which j is known too
    rows_square = (rows**2).sum(-1)
    square = (p**2).sum(-1)
    varies = square.T @ present / np.maximum(count, 1.0) - rows_square > CONSTANT
    defined = varies & varies.T & ~np.eye(n, dtype=bool)
    signs = _signs(tables)
    strength = np.where(defined, somers_d(tables), 0.0)

    by_image = np.ascontiguousarray(p.transpose(2, 1, 0))  # [b, j, k]: one image after the other in memory
    total, squares, undefined = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n), dtype=bool)
    for i in range(n):
        # Leaving image k out, T becomes (N T - p_i p_j') / (N - 1). The image against itself is neither concordant nor
        # discordant on average, so with N^2 pairs the numerator loses 2 N p_i' signs p_j and no more.
        acting = signs[i].transpose(2, 0, 1).reshape(digits * n, digits)  # [(b, j), a]
        size = count[i][:, None]
        change = (size - 1) ** 2 - size**2  # of the number of pairs that are not tied, with the two terms below
        whole = size**2 * (1 - rows_square[i][:, None])
        for start in range(0, num_images, CHUNK):
            part = slice(start, start + CHUNK)
            own_p, all_p = by_image[:, i, part], by_image[:, :, part]
            own = np.einsum("bjk,bjk->jk", (acting @ own_p).reshape(all_p.shape), all_p)
            pairs_change = change + 2 * size * (rows[i] @ own_p) - square[part, i]
            pairs_left = whole + pairs_change
            both = known[part, i] & known[part].T
            possible = pairs_left > CONSTANT * size**2
            difference = -(2 * size * own + strength[i][:, None] * pairs_change) / np.where(possible, pairs_left, 1.0)
            difference *= both & possible
            total[i] += difference.sum(1)
            squares[i] += np.einsum("jk,jk->j", difference, difference)
            undefined[i] |= (both & ~possible).any(1)
    error = np.where(defined & ~undefined & (count > 1), jackknife_error(total, squares, count), np.inf)
    return Estimates(strength, error)


def _signs(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """[..., a, b]: mass concordant minus mass discordant with an observation in cell (a, b)."""
    rows, columns = table.shape[-2:]
    return _order(rows) @ table @ _order(columns).T


def _order(size: int) -> NDArray[np.float64]:
    return np.sign(np.subtract.outer(np.arange(size), np.arange(size))).astype(np.float64)
