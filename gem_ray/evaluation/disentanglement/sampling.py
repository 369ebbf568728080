"""Draws of points that share the value of one factor: what the BetaVAE and the FactorVAE score are made of.

The originals draw fresh images from a generator over the full grid of factors. Here points are drawn, with
replacement, from those given: on a full grid that is the same distribution; on other data (correlated factors, a
sample, real images) the other factors follow the data given the fixed one, which no generator would be needed for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import DataError

_LONELY_SHARE = 0.01


class SharedFactorSampler:
    """Draws points by the value of a factor.

    Args:
        classes: class numbers [N, F]

    Raises:
        DataError: over 1 % of the points have a value of some factor that no other point has: a draw of 64 such points
            is one point 64 times, and its variance of 0 says nothing
    """

    def __init__(self, classes: NDArray[np.int64]) -> None:
        self._order = np.argsort(classes, axis=0, kind="stable")
        counts = [np.bincount(column) for column in classes.T]
        starts = [np.cumsum(count) - count for count in counts]
        self._count = np.stack([count[column] for count, column in zip(counts, classes.T)], axis=1)
        self._start = np.stack([start[column] for start, column in zip(starts, classes.T)], axis=1)
        lonely = (self._count == 1).mean(axis=0)
        if lonely.max() > _LONELY_SHARE:
            worst = int(lonely.argmax())
            raise DataError(
                f"{lonely[worst]:.0%} of the points are alone with their value of factor {worst}: "
                "give more points, or bin the factor (information.binned)"
            )

    @property
    def num_points(self) -> int:
        """N."""
        return len(self._order)

    def draw(
        self, factor: NDArray[np.int64], like: NDArray[np.int64], size: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Points [V, size], the v-th row of those that have ``factor[v]`` in common with the point ``like[v]``."""
        within = (rng.random((len(factor), size)) * self._count[like, factor][:, None]).astype(np.int64)
        return self._order[self._start[like, factor][:, None] + within, factor[:, None]]
