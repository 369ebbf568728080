"""Draws that share one factor's value."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.errors import DataError
from gem_ray.evaluation.disentanglement.sampling import SharedFactorSampler


def test_drawn_points_share_the_factor_and_only_that(grid):
    rng = np.random.default_rng(0)
    factor, like = rng.integers(3, size=200), rng.integers(len(grid), size=200)
    drawn = SharedFactorSampler(grid).draw(factor, like, 64, rng)
    for k in range(3):
        rows = grid[drawn[factor == k]]
        assert (rows[:, :, k] == grid[like[factor == k], k][:, None]).all()
        assert (np.ptp(np.delete(rows, k, axis=2), axis=1) > 0).all()


def test_all_points_of_the_value_are_drawn_alike(grid):
    rng = np.random.default_rng(0)
    drawn = SharedFactorSampler(grid).draw(np.zeros(50, dtype=np.int64), np.zeros(50, dtype=np.int64), 4_000, rng)
    counts = np.bincount(drawn.ravel(), minlength=len(grid))
    assert set(np.nonzero(counts)[0]) == set(np.nonzero(grid[:, 0] == grid[0, 0])[0])
    assert counts[counts > 0].std() < 1.2 * np.sqrt(1_000)  # 1,000 a point, of a Poisson deviation


def test_factor_with_values_of_single_points_is_refused():
    classes = np.stack([np.arange(100) % 2, np.arange(100) // 2], axis=1)
    classes[:10, 1] = 50 + np.arange(10)
    with pytest.raises(DataError, match="10% of the points are alone with their value of factor 1"):
        SharedFactorSampler(classes)
