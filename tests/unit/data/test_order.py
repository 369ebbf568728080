"""The order of records: each at most once an epoch, equal on all ranks in length, and a function of its arguments."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.data.order import (
    Piece,
    epoch_order,
    lane_batch,
    lane_pieces,
    missing_pieces,
    rank_lanes,
    steps_per_epoch,
    window_order,
    windows,
)
from gem_ray.errors import DataError


def records_of(pieces: list[Piece]) -> list[tuple[int, int]]:
    return [(piece.shard, record) for piece in pieces for record in range(piece.low, piece.high)]


def test_an_epoch_is_a_permutation_that_depends_on_seed_and_epoch():
    order = epoch_order(1000, 1, 0)
    assert sorted(order) == list(range(1000))
    assert np.array_equal(order, epoch_order(1000, 1, 0))
    assert not np.array_equal(order, epoch_order(1000, 1, 1))
    assert not np.array_equal(order, epoch_order(1000, 2, 0))


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_the_number_of_workers_only_cuts_the_batches(world):
    order = epoch_order(100, 0, 0)
    for step in range(steps_per_epoch(100, 16)):
        parts = [lane_batch(order, step, 16, rank, world) for rank in range(world)]
        assert np.array_equal(np.concatenate(parts), order[step * 16 : (step + 1) * 16])


@pytest.mark.parametrize("num_lanes", [1, 2, 3, 8])
def test_each_lane_has_one_rank_and_ranks_have_as_many_to_within_one(num_lanes):
    for world in range(1, num_lanes + 1):
        lanes = [rank_lanes(rank, world, num_lanes) for rank in range(world)]
        assert [lane for mine in lanes for lane in mine] == list(range(num_lanes))
        assert {len(mine) for mine in lanes} <= {num_lanes // world, num_lanes // world + 1}


@pytest.mark.parametrize("world", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("counts", [[10] * 8, [10, 10, 3], [1, 0, 40], [5]])
def test_ranks_share_a_streamed_epoch_evenly_and_without_overlap(world, counts):
    counts = np.array(counts)
    everything = []
    for rank in range(world):
        records = records_of(lane_pieces(counts, 3, 2, rank, world))
        assert abs(len(records) - counts.sum() / world) < 1
        everything += records
    assert len(everything) == len(set(everything)) == counts.sum()


def test_a_rank_opens_one_shard_more_than_its_share_at_most():
    for rank in range(4):
        assert len(lane_pieces(np.full(40, 100), 0, 0, rank, 4)) <= 11


def test_streamed_epochs_visit_shards_in_another_order():
    first, second = (lane_pieces(np.full(20, 5), 0, epoch, 0, 1) for epoch in (0, 1))
    assert [piece.shard for piece in first] != [piece.shard for piece in second]
    assert first == lane_pieces(np.full(20, 5), 0, 0, 0, 1)


def test_windows_hold_all_pieces_in_their_order():
    pieces = [Piece(shard, 0, 5) for shard in range(7)]
    cut = windows(pieces, 3)
    assert [len(window) for window in cut] == [3, 3, 1]
    assert [piece for window in cut for piece in window] == pieces


def test_windows_are_shuffled_each_in_its_own_way():
    orders = {
        tuple(window_order(50, 0, epoch, 2, rank, window)) for epoch in (0, 1) for rank in (0, 1) for window in (0, 1)
    }
    assert len(orders) == 8
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_a_batch_larger_than_the_data_names_both_and_the_remedy():
    with pytest.raises(DataError, match=r"data\.batch_size=128 is more than the 100 records .* prepare more images"):
        steps_per_epoch(100, 128)


@pytest.mark.parametrize(
    ("starts", "done", "stop", "size", "expected"),
    [
        ([0, 10], [], 10, 4, [(0, 0, 4), (0, 4, 8), (0, 8, 10)]),
        ([0, 5, 12], [], 12, 4, [(0, 0, 4), (0, 4, 5), (1, 0, 4), (1, 4, 7)]),
        ([0, 5, 12], [(4, 5), (5, 9)], 12, 4, [(0, 0, 4), (1, 4, 7)]),
        ([0, 10], [(2, 5), (4, 7)], 10, 4, [(0, 0, 2), (0, 7, 10)]),
        ([0, 10], [(0, 10)], 10, 4, []),
        ([0, 5, 12], [], 3, 10, [(0, 0, 3)]),
        ([0, 5, 12], [(0, 4)], 6, 10, [(0, 4, 5), (1, 0, 1)]),
    ],
)
def test_what_is_in_no_part_is_cut_into_pieces_of_one_shard(starts, done, stop, size, expected):
    assert missing_pieces(starts, done, stop, size) == [Piece(*piece) for piece in expected]


def test_pieces_cover_the_missing_records_once_within_shards_and_size():
    rng = np.random.default_rng(7)
    for _ in range(100):
        starts = np.concatenate([[0], np.cumsum(rng.integers(1, 30, size=4))]).tolist()
        stop, size = int(rng.integers(1, starts[-1] + 1)), int(rng.integers(1, 12))
        done = [(int(a), int(a) + int(b)) for a, b in rng.integers(0, 12, size=(4, 2))]
        pieces = missing_pieces(starts, done, stop, size)
        covered = {record for start, end in done for record in range(start, end)}
        found = [starts[p.shard] + at for p in pieces for at in range(p.low, p.high)]
        assert found == [record for record in range(stop) if record not in covered]
        assert all(0 < len(piece) <= size for piece in pieces)
        assert all(piece.high <= starts[piece.shard + 1] - starts[piece.shard] for piece in pieces)
