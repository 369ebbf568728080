"""Rounds: each image reaches the task of its shard, whatever the driver may hold at a time."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.config import StorageConfig
from gem_ray.data import rounds as module
from gem_ray.data.listings import ArrayListing, KnownListing, RowListing
from gem_ray.data.rounds import parts_of, rounds
from gem_ray.data.sources import list_source

SHARDS = [(0, np.array([5, 1, 1])), (2, np.array([9, 0])), (3, np.array([4]))]


@pytest.mark.parametrize(("held", "num_rounds"), [(10**6, 1), (3 * 64, 2), (1, 3)])
def test_rows_are_read_round_by_round(tmp_path, monkeypatch, held, num_rounds):
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8), dtype=np.uint8)
    np.savez_compressed(tmp_path / "a.npz", imgs=images)
    listing = list_source(str(tmp_path / "a.npz"), 0, StorageConfig())
    assert isinstance(listing, RowListing)
    known = KnownListing(listing, ("a",), np.arange(10, dtype=np.float32)[:, None])
    monkeypatch.setattr(module, "LOADED_BYTES", held)
    found = list(rounds(known, SHARDS))
    assert len(found) == num_rounds
    assert [number for few in found for number, _ in few] == [0, 2, 3]
    for few in found:
        for (_, positions), part in zip(few, parts_of(known, few), strict=True):
            assert isinstance(part, KnownListing)
            assert isinstance(part.images, ArrayListing)
            assert np.array_equal(part.images.images[..., 0], images[positions])
            assert part.values[:, 0].tolist() == positions.tolist()


def test_what_tasks_read_themselves_goes_in_one_round():
    listing = ArrayListing(np.arange(10 * 64, dtype=np.uint16).astype(np.uint8).reshape(10, 8, 8, 1))
    [few] = rounds(listing, SHARDS)
    assert [part.images[:, 0, 0, 0].tolist() for part in parts_of(listing, few)] == [
        listing.images[positions, 0, 0, 0].tolist() for _, positions in SHARDS
    ]
