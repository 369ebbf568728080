"""What goes to Ray tasks at a time: all shards, or as many as the driver may hold the pixels of.

Files of arrays are read by the driver, from end to end in each round: a task that picked its own rows would unpack
almost the whole file again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gem_ray.data.listings import KnownListing, Listing, RowListing

LOADED_BYTES = 2_000_000_000
"""Pixels of files of arrays that the driver holds at a time; larger sources are read in as many rounds."""
Shard = tuple[int, np.ndarray]
"""Number of a shard, and the positions of its images in the listing."""


def rounds(listing: Listing, shards: list[Shard]) -> Iterator[list[Shard]]:
    """Shards in one go, or as many at a time as the driver may hold pixels of."""
    images = listing.images if isinstance(listing, KnownListing) else listing
    if not isinstance(images, RowListing):
        yield shards
        return
    few: list[Shard] = []
    held = 0
    for shard in shards:
        size = len(shard[1]) * images.image_bytes
        if few and held + size > LOADED_BYTES:
            yield few
            few, held = [], 0
        few.append(shard)
        held += size
    yield few


def parts_of(listing: Listing, shards: list[Shard]) -> Iterator[Listing]:
    """The part of the listing that each shard needs; rows of files are read first, all of this round at once."""
    images = listing.images if isinstance(listing, KnownListing) else listing
    if not isinstance(images, RowListing):
        yield from (listing.part(positions) for _, positions in shards)
        return
    loaded = images.part(np.concatenate([positions for _, positions in shards])).loaded()
    start = 0
    for _, positions in shards:
        few = loaded.part(np.arange(start, start + len(positions)))
        start += len(positions)
        yield replace(listing.part(positions), images=few) if isinstance(listing, KnownListing) else few
