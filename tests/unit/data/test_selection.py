"""Which images become records: splits apart, the train split first, everything by the seed."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.config import PrepareConfig
from gem_ray.data.factors import with_named_factors
from gem_ray.data.listings import ArrayListing, DrawnListing, KnownListing
from gem_ray.data.selection import select
from gem_ray.errors import ConfigError, DataError

IMAGES = ArrayListing(np.zeros((12, 8, 8, 1), np.uint8))
SPLITS = np.array([2, 0, 0, 1, 0, 2, 0, 0, 1, 0, 0, 0], np.int8)


def make_config(**options: object) -> PrepareConfig:
    return PrepareConfig(**({"source": "images", "num_images": 0} | options))


def test_without_splits_images_are_shuffled_by_the_seed_and_bounded():
    [positions] = select(IMAGES, make_config(), 2).parts.values()
    assert sorted(positions) == list(range(12))
    [fewer] = select(IMAGES, make_config(num_images=5), 2).parts.values()
    assert np.array_equal(fewer, positions[:5])
    [other] = select(IMAGES, make_config(seed=1), 2).parts.values()
    assert not np.array_equal(other, positions)
    [drawn] = select(DrawnListing("faces", 4), make_config(), 2).parts.values()
    assert drawn.tolist() == [0, 1, 2, 3]


def test_splits_stay_apart_and_no_shard_holds_two():
    selection = select(KnownListing(IMAGES, splits=SPLITS), make_config(), 2)
    assert list(selection.parts) == ["train", "valid", "test"]
    assert {name: sorted(positions) for name, positions in selection.parts.items()} == {
        "train": [1, 2, 4, 6, 7, 9, 10, 11],
        "valid": [3, 8],
        "test": [0, 5],
    }
    shards = selection.shards(3)
    assert [(split, len(positions)) for split, positions in shards] == [
        ("train", 3), ("train", 3), ("train", 2), ("valid", 2), ("test", 2)
    ]  # fmt: skip
    assert all(len(set(SPLITS[positions])) == 1 for _, positions in shards)
    assert len(selection) == 12


def test_a_bound_holds_for_every_split():
    selection = select(KnownListing(IMAGES, splits=SPLITS), make_config(num_images=1), 2)
    assert {name: len(positions) for name, positions in selection.parts.items()} == dict(train=1, valid=1, test=1)


def test_one_split_can_be_taken_alone():
    listing = KnownListing(IMAGES, splits=SPLITS)
    assert {name: sorted(p) for name, p in select(listing, make_config(split="test"), 2).parts.items()} == {
        "test": [0, 5]
    }
    with pytest.raises(DataError, match=r"no image in prepare\.split=valid"):
        select(KnownListing(IMAGES, splits=np.zeros(12, np.int8)), make_config(split="valid"), 2)
    with pytest.raises(ConfigError, match=r"prepare\.split=test: images does not say"):
        select(IMAGES, make_config(split="test"), 2)


def test_a_full_grid_has_no_relations_and_a_part_of_one_has_unknown_ones():
    grid = with_named_factors(IMAGES, ["a", "b"], [3, 4])
    assert np.array_equal(select(grid, make_config(), 2).relations, np.zeros((2, 2)))
    assert select(grid.part(np.arange(5)), make_config(), 2).relations is None
    assert select(IMAGES, make_config(), 2).relations is None


def test_correlated_images_are_drawn_with_a_hold_out_of_their_own():
    grid = with_named_factors(IMAGES, ["a", "b"], [3, 4])
    wanted = make_config(correlate=["b", "a"], num_images=100, correlation_width=0.3)
    selection = select(grid, wanted, 20)
    assert {name: len(positions) for name, positions in selection.parts.items()} == {"train": 80, "test": 20}
    assert not set(selection.parts["train"]) & set(selection.parts["test"])
    assert selection.relations[0, 1] > 0.5
    with pytest.raises(ConfigError, match=r"num_images=20 must be more than data\.holdout=20"):
        select(grid, make_config(correlate=["b", "a"], num_images=20), 20)
    with pytest.raises(ConfigError, match="has no factors that could be correlated"):
        select(IMAGES, wanted, 20)
