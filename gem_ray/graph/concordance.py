"""For each observation of two real-valued variables: the pairs concordant minus those discordant with it, ties and all.

These sums give Somers' D and each of its delete-one values. O(N log N): comparisons inside small blocks and a table of
blocks up to ``BASE`` observations, halves above, whose counts one pass brings together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BASE = 16_384  # ranks up to here fit 16 bits, of which a vector register compares 16 or more at a time


@dataclass(frozen=True)
class Ranked:
    """A variable in the form the counts need.

    Args:
        order: [N], observations by ascending value, those of one value in their own order
        below, up_to: [N], how many observations are smaller, and smaller or equal
    """

    order: NDArray[np.int64]
    below: NDArray[np.int64]
    up_to: NDArray[np.int64]

    @property
    def tie_sizes(self) -> NDArray[np.int64]:
        """[N]: observations of the same value, itself included."""
        return self.up_to - self.below

    @property
    def tied(self) -> bool:
        """Whether any value occurs twice."""
        return bool((self.tie_sizes > 1).any())


def ranked(values: NDArray[np.floating]) -> Ranked:
    """Rank values [N], none of them NaN."""
    order = np.argsort(values, kind="stable")
    start, end = _runs(values[order])
    below, up_to = np.empty_like(start), np.empty_like(end)
    below[order], up_to[order] = start, end
    return Ranked(order, below, up_to)


def pair_balance(x: Ranked, y: Ranked) -> NDArray[np.int64]:
    """[N]: for each k the sum over l of sign(x_k - x_l) sign(y_k - y_l).

    Each sign is [l < k] + [l <= k] - 1, so the product takes four counts of points to the lower left of k. They differ
    by ties alone: with F points strictly below in both, E tied in one and lower in the other and D tied in both, they
    sum to 4 F + 2 E + D. One order of x and one of y in which no tie counts as lower give F.
    """
    n = len(x.order)
    by_x = _within(x, y.order[::-1]) if x.tied else x.order  # ties of x by falling y
    by_y = _within(y, by_x[::-1]) if y.tied else y.order  # ties of y by falling x, and what is tied in both backwards
    rank = np.empty(n, dtype=np.int64)
    rank[by_y] = np.arange(n)
    corners = np.ones(n, dtype=np.int64)
    corners[by_x] += 4 * count_smaller_before(rank[by_x])
    for variable, order in ((x, by_x), (y, by_y)):
        if variable.tied:
            start, end = _runs(x.below[order], y.below[order])
            corners[order] += 2 * (variable.up_to[order] - end)
            if variable is x:
                corners[order] += end - start - 1
    return corners + n - (x.below + x.up_to) - (y.below + y.up_to)


def count_smaller_before(sequence: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N]: for each position of a permutation of 0..N-1 how many earlier entries are smaller."""
    n = len(sequence)
    if n <= BASE:
        return _count_by_blocks(sequence)
    first, second = sequence[: n // 2], sequence[n // 2 :]
    in_first = np.zeros(n, dtype=np.int64)
    in_first[first] = 1
    below = np.cumsum(in_first) - in_first  # entries of the first half below each value
    across = below[second]
    return np.concatenate([count_smaller_before(below[first]), count_smaller_before(second - across) + across])


def _count_by_blocks(sequence: NDArray[np.int64]) -> NDArray[np.int64]:
    """Blocks of positions and of values: a table of blocks counts what differs in both, comparisons count the rest."""
    n = len(sequence)
    width = max(8, round(2.2 * n ** (1 / 3)))  # balances the comparisons, N width, and the table, (N / width)^2
    num_blocks = -(-n // width)
    size = num_blocks * width
    values = np.concatenate([sequence, np.arange(n, size)])  # padding that is smaller than nothing before it
    positions = np.empty(size, dtype=np.int64)
    positions[values] = np.arange(size)
    cell = (np.arange(size) // width) * num_blocks + values // width
    table = np.bincount(cell, minlength=num_blocks**2).reshape(num_blocks, num_blocks).astype(np.int32)
    lower = np.zeros_like(table)
    np.cumsum(np.cumsum(table, axis=0, dtype=np.int32)[:-1, :-1], axis=1, dtype=np.int32, out=lower[1:, 1:])
    counts = lower.ravel()[cell].astype(np.int64)
    counts += _count_in_rows(values.reshape(num_blocks, width))
    # And within a block of values, in the order of values: what is lower and in an earlier block of positions.
    counts[positions] += _count_in_rows((positions // width).reshape(num_blocks, width))
    return counts[:n]


def _count_in_rows(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """[size]: for each entry of [blocks, width] the smaller entries before it in its row."""
    columns = np.ascontiguousarray(rows.T.astype(np.int16))  # so that one comparison runs over all blocks
    counts = np.zeros(columns.shape, dtype=np.uint8)
    for earlier in range(len(columns) - 1):
        counts[earlier + 1 :] += (columns[earlier] < columns[earlier + 1 :]).view(np.uint8)
    return counts.T.astype(np.int64).ravel()


def _within(outer: Ranked, inner_order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Observations by ascending value of one variable, those of one value in the order given."""
    keys = outer.below[inner_order].astype(np.min_scalar_type(len(inner_order)))  # numpy sorts 16 bits by radix
    return inner_order[np.argsort(keys, kind="stable")]


def _runs(*keys: NDArray[np.generic]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """[N], [N]: where the run of equal keys that each position is in starts, and where it ends."""
    n = len(keys[0])
    change = np.zeros(max(n - 1, 0), dtype=bool)
    for key in keys:
        change |= key[1:] != key[:-1]
    edges = np.concatenate([[0], np.flatnonzero(change) + 1, [n]])
    lengths = np.diff(edges)
    return np.repeat(edges[:-1], lengths), np.repeat(edges[1:], lengths)
