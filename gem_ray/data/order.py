"""Which record is trained on when: pure functions, so that resuming needs no iterator state.

A batch is cut into lanes, as many as the run may have workers; a rank takes one lane, or several where workers are
missing, so nothing here depends on how many there are. With the data in memory every epoch is one global permutation
of (seed, epoch), and lanes only cut its batches. When streaming, the shards of an epoch are laid in a random line, each
lane takes an equal stretch of it, and records are shuffled inside windows of a few shards: a function of (seed, epoch,
number of lanes, lane).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gem_ray.errors import DataError

MEMORY_ORDER, SHARD_ORDER, WINDOW_ORDER = 11, 12, 13


@dataclass(frozen=True)
class Piece:
    """Records [low, high) of one shard, counted from the shard's first."""

    shard: int
    low: int
    high: int

    def __len__(self) -> int:
        return self.high - self.low


def missing_pieces(starts: Sequence[int], done: Sequence[tuple[int, int]], stop: int, size: int) -> list[Piece]:
    """Images [0, stop) that are in no part, in pieces of at most ``size`` that lie in one shard.

    Args:
        starts: number of the first image of each shard, and the count behind the last
        done: [start, stop) of the parts that are there
    """
    pieces = []
    for shard, (low, high) in enumerate(pairwise(starts)):
        at = low
        while at < min(high, stop):
            inside = [end for start, end in done if start <= at < end]
            if inside:
                at = max(inside)
                continue
            end = min([high, stop, at + size, *(start for start, _ in done if start > at)])
            pieces.append(Piece(shard, at - low, end - low))
            at = end
    return pieces


def steps_per_epoch(num_records: int, batch_size: int) -> int:
    """Whole global batches in an epoch; the rest of the records waits for another shuffle.

    Raises:
        DataError: not even one batch
    """
    steps = num_records // batch_size
    if steps == 0:
        raise DataError(
            f"data.batch_size={batch_size} is more than the {num_records} records that training may use "
            "(the data less data.holdout); lower data.batch_size or data.holdout, or prepare more images"
        )
    return steps


def epoch_order(num_records: int, seed: int, epoch: int) -> np.ndarray:
    """The permutation of an epoch in memory: int64 [num_records]."""
    return np.random.default_rng((seed, MEMORY_ORDER, epoch)).permutation(num_records)


def rank_lanes(rank: int, world: int, num_lanes: int) -> range:
    """The lanes of a rank: at least one, and one more than another rank has at most.

    Args:
        world: ranks there are, at most ``num_lanes``
    """
    return range(rank * num_lanes // world, (rank + 1) * num_lanes // world)


def lane_batch(order: np.ndarray, step_in_epoch: int, batch_size: int, lane: int, num_lanes: int) -> np.ndarray:
    """A lane's slice of one global batch: int64 [batch_size / num_lanes]."""
    size = batch_size // num_lanes
    first = step_in_epoch * batch_size + lane * size
    return order[first : first + size]


def lane_pieces(shard_counts: np.ndarray, seed: int, epoch: int, lane: int, num_lanes: int) -> list[Piece]:
    """The stretch of a lane in an epoch of streaming. Stretches are disjoint and equally long to within one record.

    Args:
        shard_counts: records of each shard that training may use
    """
    line = np.random.default_rng((seed, SHARD_ORDER, epoch)).permutation(len(shard_counts))
    total = int(shard_counts.sum())
    start, stop = lane * total // num_lanes, (lane + 1) * total // num_lanes
    pieces, before = [], 0
    for shard in line:
        count = int(shard_counts[shard])
        low, high = max(start - before, 0), min(stop - before, count)
        if low < high:
            pieces.append(Piece(int(shard), low, high))
        before += count
    return pieces


def windows(pieces: list[Piece], window_shards: int) -> list[list[Piece]]:
    """Consecutive pieces whose records are shuffled together."""
    return [pieces[first : first + window_shards] for first in range(0, len(pieces), window_shards)]


def window_order(count: int, seed: int, epoch: int, num_lanes: int, lane: int, window: int) -> np.ndarray:
    """The shuffle inside one window: int64 [count]."""
    return np.random.default_rng((seed, WINDOW_ORDER, epoch, num_lanes, lane, window)).permutation(count)
