"""Unsupervised scores: reference values, and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.linalg import sqrtm

from gem_ray.evaluation.disentanglement.unsupervised import (
    dependence,
    gaussian_total_correlation,
    gaussian_wasserstein,
)


def test_gaussian_scores_equal_the_reference(case):
    result = dependence(case.codes)
    assert result.total_correlation == pytest.approx(case.values["gaussian_total_correlation_active"], abs=1e-6)
    assert result.wasserstein == pytest.approx(case.values["gaussian_wasserstein_correlation"], abs=1e-6)
    assert result.wasserstein_share == pytest.approx(case.values["gaussian_wasserstein_correlation_norm"], abs=1e-6)


@pytest.mark.parametrize("correlation", [0.0, 0.3, -0.9])
def test_total_correlation_of_two_codes_in_closed_form(correlation):
    covariance = np.array([[4, 2 * correlation], [2 * correlation, 1]])
    assert gaussian_total_correlation(covariance) == pytest.approx(-0.5 * np.log(1 - correlation**2))


def test_wasserstein_of_two_codes_in_closed_form():
    # of unit variances: eigenvalues 1 +- r, so 4 - 2 (sqrt(1 + r) + sqrt(1 - r))
    assert gaussian_wasserstein(np.array([[1, 0.6], [0.6, 1]])) == pytest.approx(4 - 2 * (np.sqrt(1.6) + np.sqrt(0.4)))


def test_wasserstein_equals_that_by_matrix_square_root():
    factor = np.random.default_rng(0).normal(size=(4, 4))
    covariance = factor @ factor.T
    root = sqrtm(covariance * np.diag(covariance)[:, None])
    assert gaussian_wasserstein(covariance) == pytest.approx(2 * np.trace(covariance) - 2 * np.trace(root).real)


def test_independent_codes_have_nothing_in_any_order_and_scale(grid):
    result = dependence(grid[:, [2, 0, 1]] * np.array([1.0, -10, 0.1]))
    assert result == pytest.approx((0, 0, 0, 0), abs=1e-9)


def test_copied_code_depends_without_bound(grid):
    result = dependence(np.stack([grid[:, 0], 2.0 * grid[:, 0]], axis=1))
    assert result.total_correlation == math.inf
    assert result.pairwise_information == pytest.approx(np.log(2))


def test_dead_codes_count_in_the_pairs_only(grid, noise):
    codes = np.stack([noise[:, 0], noise[:, 0] + noise[:, 1]], axis=1)
    with_dead = np.concatenate([codes, np.full((len(codes), 1), 0.1)], axis=1)
    alive, both = dependence(codes), dependence(with_dead)
    assert both[:3] == pytest.approx(alive[:3])
    assert both.pairwise_information == pytest.approx(alive.pairwise_information * 2 / 6)


def test_only_dead_codes_depend_on_nothing(grid):
    assert dependence(np.full((len(grid), 3), 0.1)) == (0, 0, 0, 0)
