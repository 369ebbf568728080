"""Correlated factors out of a full grid: images drawn with weights exp(-(c1 - a c2)^2 / 2 s^2) for a pair of factors.

Both factors are taken on [0, 1]; the others stay independent of them and of each other. Images for the hold-out are
drawn from a part of the grid of their own, so that none of them is trained on though images are drawn with replacement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import ConfigError, DataError
from gem_ray.graph.relations import somers_d

HELD_OUT_CELLS = 0.2
"""Share of the grid's images that only the hold-out is drawn from."""


@dataclass(frozen=True)
class Correlation:
    """How two factors hang together: the first is about ``slope`` times the second, give or take ``width``."""

    first: int
    second: int
    slope: float
    width: float

    def density(self, first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
        """The weight of a pair of values on [0, 1], not normalised; 1 at its greatest."""
        exponent = -((np.asarray(first, np.float64) - self.slope * second) ** 2) / (2 * self.width**2)
        weight: NDArray[np.float64] = np.exp(exponent - exponent.max())
        return weight


def correlation_of(names: Sequence[str], pair: Sequence[str], slope: float, width: float) -> Correlation:
    """The correlation that the options name.

    Raises:
        ConfigError: a factor that the source does not have
    """
    unknown = [name for name in pair if name not in names]
    if unknown:
        raise ConfigError(
            f"prepare.correlate={list(pair)}: the source has no factor {', '.join(unknown)}; it has {', '.join(names)}"
        )
    return Correlation(names.index(pair[0]), names.index(pair[1]), slope, width)


def is_full_grid(values: NDArray[np.floating]) -> bool:
    """Whether factors [N, k] hold every combination of their values exactly once."""
    if not np.isfinite(values).all():
        return False
    levels = [np.unique(column, return_inverse=True) for column in values.T]
    sizes = [len(found) for found, _ in levels]
    if int(np.prod(sizes, dtype=object)) != len(values):
        return False
    cells = np.ravel_multi_index([inverse.reshape(-1) for _, inverse in levels], sizes)
    return len(np.unique(cells)) == len(values)


def draw_correlated(
    values: NDArray[np.floating], correlation: Correlation, *, num_train: int, num_held_out: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of a full grid for training and for the hold-out, with replacement; no row is in both.

    Args:
        values: factors [N, k] on [0, 1]

    Raises:
        DataError: the rows are no full grid, whose factors would be correlated already
    """
    if not is_full_grid(values):
        raise DataError(
            f"prepare.correlate needs a full grid, every combination of the factors once; these {len(values)} images "
            "are none. Leave it out, or take a source that is whole"
        )
    rng = np.random.default_rng((seed, len(values)))
    cells = rng.permutation(len(values))
    first_held_out = len(cells) - round(HELD_OUT_CELLS * len(cells))
    weight = correlation.density(values[:, correlation.first], values[:, correlation.second])

    def draw(part: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        return rng.choice(part, size=count, p=weight[part] / weight[part].sum())

    return draw(cells[:first_held_out], num_train), draw(cells[first_held_out:], num_held_out)


def grid_relations(values: NDArray[np.floating], correlation: Correlation | None) -> NDArray[np.float64]:
    """True relations of a full grid whose images are drawn so (None: evenly), exact.

    Returns:
        float64 [k, k], entry [i, j] = Somers' D of factor j given factor i; 0 wherever two factors are independent
    """
    strength = np.zeros((values.shape[1], values.shape[1]))
    if correlation is not None:
        first, second = (np.unique(values[:, column]) for column in (correlation.first, correlation.second))
        table = correlation.density(first[:, None], second[None, :])
        strength[correlation.first, correlation.second] = somers_d(table)
        strength[correlation.second, correlation.first] = somers_d(table.T)
    return strength
