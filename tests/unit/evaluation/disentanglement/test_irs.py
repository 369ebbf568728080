"""IRS: reference values, and codes whose score is known."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.evaluation.disentanglement.irs import irs


def test_irs_equals_the_reference(case):
    result = irs(case.codes, case.factors)
    assert result.score == pytest.approx(case.values["irs_q0.99"], abs=1e-6)
    assert result.per_code == pytest.approx(case.values["irs_per_latent"], abs=1e-6)
    assert result.matrix == pytest.approx(case.arrays["irs_matrix"], abs=1e-6)


def test_perfect_code_has_one_in_any_order_and_beside_dead_codes(grid):
    codes = np.concatenate([np.full((len(grid), 1), 0.1), grid[:, [2, 0, 1]] * -3.0], axis=1)
    result = irs(codes, grid)
    assert result.score == pytest.approx(1)
    assert result.active.tolist() == [False, True, True, True]
    assert result.matrix.argmax(axis=1).tolist() == [2, 0, 1]


def test_a_sum_of_two_factors_by_hand():
    # z = a + b of two fair bits: greatest deviation 1, half that whichever is held
    bits = np.tile(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), (5, 1))
    codes = np.stack([bits.sum(axis=1), bits[:, 0]], axis=1).astype(float)
    assert irs(codes, bits).matrix == pytest.approx(np.array([[0.5, 0.5], [1, 0]]))
    # weights are the greatest deviations, 1 and 1/2
    assert irs(codes, bits).score == pytest.approx((1 * 0.5 + 0.5 * 1) / 1.5)


def test_at_the_greatest_deviation_an_outlier_decides(grid):
    codes = grid.astype(float)
    codes[0, 0] = 50
    assert irs(codes, grid).matrix[0, 0] > irs(codes, grid, quantile=1.0).matrix[0, 0] + 0.1


def test_only_dead_codes_have_nothing(grid):
    assert irs(np.full((len(grid), 2), 0.1), grid).score == 0
