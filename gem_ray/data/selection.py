"""Which images of a source become records, in which order: shuffled inside each split, the train split first.

The order is a function of source and seed, so that a stopped preparation goes on with the same shards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gem_ray.config import PrepareConfig
from gem_ray.data.correlated import correlation_of, draw_correlated, grid_relations, is_full_grid
from gem_ray.data.labelled import SPLITS
from gem_ray.data.listings import DrawnListing, KnownListing, Listing
from gem_ray.errors import ConfigError, DataError

NO_SPLIT = ""


@dataclass(frozen=True)
class Selection:
    """Positions in the listing.

    Args:
        parts: int64 positions by split, in the order of the records; all under ``NO_SPLIT`` where there are none
        relations: exact true relations [K, K] of the attributes of images so selected; None where not known exactly
    """

    parts: dict[str, NDArray[np.int64]]
    relations: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return sum(len(positions) for positions in self.parts.values())

    def shards(self, per_shard: int) -> list[tuple[str, NDArray[np.int64]]]:
        """(split, positions) of every shard; none holds images of two splits."""
        return [
            (split, positions[start : start + per_shard])
            for split, positions in self.parts.items()
            for start in range(0, len(positions), per_shard)
        ]


def select(listing: Listing, wanted: PrepareConfig, holdout: int) -> Selection:
    """Choose and order the images.

    Args:
        holdout: as ``data.holdout``; so many correlated images are drawn for it

    Raises:
        ConfigError: options that the source cannot meet
        DataError: a split without images, or a correlation on what is no full grid
    """
    if wanted.correlate:
        return _correlated(listing, wanted, holdout)
    if isinstance(listing, KnownListing) and listing.splits is not None:
        return Selection(_by_split(listing.splits, wanted))
    if wanted.split != "all":
        raise ConfigError(
            f"prepare.split={wanted.split}: {wanted.source} does not say which images are in it (folders named train, "
            "val or test, CelebA's partition file); use prepare.split=all"
        )
    if isinstance(listing, DrawnListing):
        return Selection({NO_SPLIT: np.arange(len(listing))})
    values = listing.values if isinstance(listing, KnownListing) else None
    relations = grid_relations(values, None) if values is not None and is_full_grid(values) else None
    return Selection({NO_SPLIT: _shuffled(np.arange(len(listing)), wanted, len(listing))}, relations)


def _shuffled(positions: NDArray[np.int64], wanted: PrepareConfig, *seed: int) -> NDArray[np.int64]:
    order = np.random.default_rng((wanted.seed, *seed)).permutation(positions)
    return order[: wanted.num_images] if wanted.num_images else order


def _by_split(splits: NDArray[np.int8], wanted: PrepareConfig) -> dict[str, NDArray[np.int64]]:
    names = SPLITS if wanted.split == "all" else {wanted.split: SPLITS[wanted.split]}
    found = {name: np.flatnonzero(splits == code) for name, code in names.items()}
    parts = {
        name: _shuffled(positions, wanted, len(splits), SPLITS[name])
        for name, positions in found.items()
        if len(positions)
    }
    if not parts:
        raise DataError(f"{wanted.source} has no image in prepare.split={wanted.split}; choose another split, or all")
    return parts


def _correlated(listing: Listing, wanted: PrepareConfig, holdout: int) -> Selection:
    if not isinstance(listing, KnownListing) or listing.values is None:
        raise ConfigError(
            f"prepare.correlate={wanted.correlate}: {wanted.source} has no factors that could be correlated; take a "
            "source with a full grid of factors, or name them in prepare.factor_names and prepare.factor_sizes"
        )
    if wanted.num_images <= holdout:
        raise ConfigError(
            f"prepare.num_images={wanted.num_images} must be more than data.holdout={holdout}: say how many correlated "
            "images to draw, the held-out ones among them"
        )
    correlation = correlation_of(listing.names, wanted.correlate, wanted.correlation_slope, wanted.correlation_width)
    train, held_out = draw_correlated(
        listing.values, correlation, num_train=wanted.num_images - holdout, num_held_out=holdout, seed=wanted.seed
    )
    return Selection({"train": train, "test": held_out}, grid_relations(listing.values, correlation))
