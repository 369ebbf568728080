"""MIG: reference values, and codes whose score is known."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.evaluation.disentanglement.mig import mig


def test_mig_equals_the_reference(case):
    result = mig(case.codes, case.factors)
    assert result.score == pytest.approx(case.values["mig"], abs=1e-6)
    assert result.mutual_information == pytest.approx(case.arrays["mi_matrix"], abs=1e-6)
    assert result.entropy == pytest.approx(case.arrays["entropies"], abs=1e-6)


def test_mig_of_own_draws_is_within_four_deviations_of_the_reference(case):
    drawn = np.random.default_rng(0).integers(len(case.table), size=10_000)
    score = mig(case.table[drawn], case.table_factors[drawn]).score
    assert score == pytest.approx(case.values["mig_sampled_mean"], abs=4 * case.values["mig_sampled_std"])


def test_perfect_code_has_one(grid):
    assert mig(grid.astype(float), grid).score == pytest.approx(1)


def test_code_that_ignores_the_factors_has_nearly_nothing(grid):
    # every grid point ten times with the same ten codes: independent exactly, so no bias of the estimate either
    codes = np.repeat(np.random.default_rng(0).normal(size=(10, 3)), len(grid) // 10, axis=0)
    assert mig(codes, grid).score == pytest.approx(0, abs=1e-12)


def test_copies_of_a_perfect_code_have_nothing(grid):
    assert mig(np.tile(grid.astype(float), 2), grid).score == pytest.approx(0, abs=1e-12)


def test_a_code_of_two_factors_has_the_gap_between_what_it_and_the_next_know(grid):
    # the code knows factors 0 and 1 whole; beside it factor 1 has a code of its own, 0 and 2 have none
    codes = np.stack([4 * grid[:, 0] + grid[:, 1], grid[:, 1]], axis=1).astype(float)
    assert mig(codes, grid).per_factor == pytest.approx([1, 0, 0], abs=1e-12)


def test_dead_codes_change_nothing(grid, noise):
    codes = grid + 0.3 * noise
    with_dead = np.concatenate([codes, np.full((len(grid), 2), 0.1)], axis=1)
    assert mig(with_dead, grid).score == pytest.approx(mig(codes, grid).score)


def test_only_dead_codes_have_nothing(grid):
    assert mig(np.zeros((len(grid), 3)), grid).score == 0


def test_order_and_affine_rescaling_of_codes_change_nothing(grid, noise):
    codes = grid + 0.3 * noise
    again = codes[:, [2, 0, 1]] * np.array([3.0, 0.01, 100]) + np.array([-5.0, 1, 0])
    assert mig(again, grid).score == pytest.approx(mig(codes, grid).score)


def test_names_of_the_values_change_nothing(grid, noise):
    codes = grid + 0.3 * noise
    assert mig(codes, 10.5 - grid).score == pytest.approx(mig(codes, grid).score)
