"""SAP: reference values, and codes whose score is known."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.evaluation.disentanglement.sap import sap_continuous, sap_discrete


def test_discrete_sap_equals_the_reference(case):
    result = sap_discrete(case.codes, case.factors, case.test_codes, case.test_factors, seed=0)
    assert result.score == pytest.approx(case.values["sap_discrete"], abs=0.002)
    assert result.predictability == pytest.approx(case.arrays["sap_matrix"], abs=0.01)


def test_continuous_sap_equals_the_reference(case):
    result = sap_continuous(case.codes, case.factors)
    assert result.score == pytest.approx(case.values["sap_continuous_r2"], abs=1e-6)
    assert result.predictability == pytest.approx(case.arrays["sap_matrix_continuous"], abs=1e-6)


@pytest.fixture
def binary(grid):
    """Two independent binary factors, 200 points each way."""
    return np.stack([grid[:, 0], grid[:, 1] % 2], axis=1)


def test_perfect_code_of_binary_factors_is_half_ahead_of_a_guess(binary):
    result = sap_discrete(binary.astype(float), binary, binary.astype(float), binary, seed=0)
    assert result.predictability == pytest.approx(np.array([[1, 0.5], [0.5, 1]]))
    assert result.score == pytest.approx(0.5)


def test_copies_and_dead_codes_have_nothing(binary):
    codes = np.tile(binary.astype(float), 2)
    assert sap_discrete(codes, binary, codes, binary, seed=0).score == 0
    assert sap_continuous(codes, binary).score == pytest.approx(0)
    dead = np.full((len(binary), 3), 0.1)
    assert sap_discrete(dead, binary, dead, binary, seed=0).score == 0
    assert sap_continuous(dead, binary).score == 0


def test_order_of_codes_and_number_of_threads_change_nothing(binary, noise):
    codes = np.concatenate([binary, binary[:, :1]], axis=1) + noise
    one = sap_discrete(codes, binary, codes, binary, seed=0)
    two = sap_discrete(codes[:, ::-1], binary, codes[:, ::-1], binary, seed=0, workers=2)
    assert two.score == one.score


def test_continuous_sap_of_a_perfect_code_is_one_however_it_is_scaled(grid):
    assert sap_continuous(grid * np.array([1.0, -5, 0.1]) + 3, grid).score == pytest.approx(1)


def test_squared_correlation_by_hand():
    values = np.array([[-1.0], [0], [1], [0]])
    codes = np.array([[-1.0, 0], [1, 1], [1, 0], [-1, -1]])
    # code 0: covariance 2, variances 4 and 2: 4/8; code 1: covariance 0
    assert sap_continuous(codes, values).predictability == pytest.approx(np.array([[0.5], [0]]))
