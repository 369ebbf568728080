"""Modularity and explicitness: reference values, and codes whose score is known."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.errors import DataError
from gem_ray.evaluation.disentanglement.modularity import explicitness, modularity, modularity_of


def test_modularity_equals_the_reference(case):
    assert modularity(case.codes, case.factors).score == pytest.approx(case.values["modularity"], abs=1e-6)


def test_explicitness_equals_the_reference(case):
    result = explicitness(case.codes, case.factors, case.test_codes, case.test_factors, seed=0)
    if case.name == "const_dims":  # the original divides by a deviation of 0 and fails
        assert "NaN" in case.values["explicitness_error"]
        alive = np.ptp(case.codes, axis=0) > 0
        without = explicitness(case.codes[:, alive], case.factors, case.test_codes[:, alive], case.test_factors, seed=0)
        assert result.score == without.score > 0.9
        return
    assert result.score == pytest.approx(case.values["explicitness_test"], abs=1e-3)
    assert result.train == pytest.approx(case.values["explicitness_train"], abs=1e-3)
    assert result.per_factor == pytest.approx(case.values["explicitness_per_factor_test"], abs=1e-3)


def test_modularity_by_hand():
    # one factor only: 1; two of three alike: 1 - 1 / 2; half of the greatest: 1 - .25 / 2; nothing: 0
    result = modularity_of(np.array([[2.0, 0, 0], [1, 1, 0], [1, 0.5, 0], [0, 0, 0]]))
    assert result.per_code == pytest.approx([1, 0.5, 0.875, 0])
    assert result.score == pytest.approx((1 + 0.5 + 0.875) / 4)


def test_perfect_code_is_modular_in_any_order_and_copies_do_not_count(grid):
    assert modularity(np.tile(grid[:, [2, 0, 1]] * 3.0 - 1, 2), grid).score == pytest.approx(1)


def test_dead_codes_count_as_not_modular(grid):
    codes = np.concatenate([grid, np.full((len(grid), 1), 0.1)], axis=1)
    assert modularity(codes, grid).score == pytest.approx(3 / 4)


def test_one_factor_is_refused(grid, noise):
    with pytest.raises(DataError, match="1 factor"):
        modularity(noise, grid[:, :1])


def test_perfect_code_is_explicit_in_any_order_and_beside_dead_codes(grid):
    codes = np.concatenate([np.full((len(grid), 1), 0.1), grid[:, [2, 0, 1]]], axis=1)
    # .99: classes in the middle are never the likeliest by far, on 400 points
    assert explicitness(codes, grid, codes, grid, seed=0).score > 0.99


def test_code_of_noise_is_not_explicit(grid, noise):
    assert explicitness(noise, grid, noise[::-1], grid, seed=0).score == pytest.approx(0.5, abs=0.06)


def test_only_dead_codes_have_chance(grid):
    dead = np.zeros((len(grid), 2))
    assert explicitness(dead, grid, dead, grid, seed=0).score == 0.5


def test_classes_that_the_test_points_lack_are_left_out(grid, noise):
    codes = grid + 0.1 * noise
    few = (grid[:, 2] < 4) & (grid[:, 0] == 0)
    result = explicitness(codes, grid, codes[few], grid[few], seed=0)
    assert np.isnan(result.per_factor[0])
    assert result.score == pytest.approx(np.mean(result.per_factor[1:]))
