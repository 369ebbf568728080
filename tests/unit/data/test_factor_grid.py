"""Ranges and relations over all combinations of causes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import somersd

from gem_ray.data.factor_grid import FactorGrid

A, B = (axis.ravel().astype(float) for axis in np.meshgrid(np.arange(4), np.arange(5), indexing="ij"))
GRID = FactorGrid(np.stack([A, B, A + 2 * B], axis=1))


def test_factors_run_over_the_unit_interval() -> None:
    scaled = GRID.scaled(GRID.raw)
    assert scaled.min(axis=0).tolist() == [0.0, 0.0, 0.0]
    assert scaled.max(axis=0).tolist() == [1.0, 1.0, 1.0]
    assert GRID.scaled(np.array([1.5, 2.0, 5.5])).tolist() == [0.5, 0.5, 0.5]


def test_its_relations_are_scipys_and_cannot_be_changed() -> None:
    assert GRID.strength[0, 1] == 0.0
    assert GRID.strength[1, 2] == pytest.approx(somersd(GRID.raw[:, 1], GRID.raw[:, 2]).statistic)
    with pytest.raises(ValueError, match="read-only"):
        GRID.strength[0, 1] = 1.0
