"""True factors of images: from the labels in their file, or from their place in a full grid; always on [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gem_ray.data.listings import DrawnListing, Images, KnownListing, Listing
from gem_ray.errors import ConfigError

DSPRITES = ("shape", "scale", "orientation", "x", "y")
SHAPES3D = ("floor hue", "wall hue", "object hue", "scale", "shape", "orientation")


def with_labels(images: Images, labels: NDArray[np.generic], names: Sequence[str]) -> KnownListing:
    """Images with their labels [N, K] as factors; what never varies is left out.

    Args:
        names: of the columns, or too few or too many of them: then they are called "factor 1" and so on
    """
    values = np.asarray(labels, np.float64)
    if len(names) != values.shape[1]:
        names = [f"factor {column}" for column in range(1, values.shape[1] + 1)]
    low, high = values.min(axis=0), values.max(axis=0)
    varying = np.flatnonzero(high > low)
    scaled = (values[:, varying] - low[varying]) / (high - low)[varying]
    return KnownListing(images, tuple(names[column] for column in varying), scaled.astype(np.float32))


def with_named_factors(listing: Listing, names: Sequence[str], sizes: Sequence[int]) -> Listing:
    """What ``prepare.factor_names`` and ``prepare.factor_sizes`` say of a source; both empty: nothing.

    Args:
        sizes: of a full grid in whose order the images lie, the last factor fastest; empty where the file has labels

    Raises:
        ConfigError: numbers that do not fit the source
    """
    if not names:
        return listing
    if isinstance(listing, DrawnListing):
        raise ConfigError(f"prepare.factor_names={list(names)}: {listing.name} has factors of its own; leave it empty")
    if not sizes:
        if not isinstance(listing, KnownListing) or len(listing.names) != len(names):
            found = len(listing.names) if isinstance(listing, KnownListing) else 0
            raise ConfigError(
                f"prepare.factor_names={list(names)} names {len(names)} factors and the source has labels of {found} "
                "that vary; name those, or give the sizes of its grid in prepare.factor_sizes"
            )
        return replace(listing, names=tuple(names))
    if int(np.prod(sizes, dtype=object)) != len(listing):
        raise ConfigError(
            f"prepare.factor_sizes={list(sizes)} is a grid of {int(np.prod(sizes, dtype=object)):,} images, the source "
            f"has {len(listing):,}; the sizes must multiply to that"
        )
    classes = np.stack(np.unravel_index(np.arange(len(listing)), tuple(sizes)), axis=1)
    if isinstance(listing, KnownListing):
        return replace(with_labels(listing.images, classes, names), splits=listing.splits)
    return with_labels(listing, classes, names)
