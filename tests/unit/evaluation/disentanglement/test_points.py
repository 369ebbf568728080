"""What the metrics accept, and what they say of the rest."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.errors import DataError
from gem_ray.evaluation.disentanglement.points import (
    check_rows,
    checked_codes,
    factor_classes,
    moving_codes,
    varying_factors,
)


def test_classes_are_numbered_alike_in_train_and_test():
    train, test = factor_classes(
        np.array([["red"], ["green"], ["red"], ["green"]]), np.array([["green"], ["blue"], ["red"]])
    )
    assert train.ravel().tolist() == [2, 1, 2, 1]
    assert test.ravel().tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros(4), r"shape \(4,\)"),
        (np.zeros((4, 1)), "at least 2 of each"),
        (np.array([[0.0, 1.0, np.nan], [np.inf, 0.0, 0.0]]), r"codes \[0, 2\]"),
    ],
)
def test_codes_that_cannot_be_scored_are_named(codes, message):
    with pytest.raises(DataError, match=message):
        checked_codes(codes)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (np.zeros((4, 2, 1)), r"\[points, factors\]"),
        (np.array([[0, 1], [1, 1], [0, 1], [1, 1]]), "factor 1 has one value"),
        (np.array([[0, 0.1], [1, 0.2], [0, 0.3], [1, 0.4]]), "factor 1 has 4 values on 4 points"),
        (np.array([[0.0], [np.nan], [1.0]]), "NaN"),
    ],
)
def test_factors_that_cannot_be_scored_are_named(factors, message):
    with pytest.raises(DataError, match=message):
        factor_classes(factors)


def test_train_and_test_must_have_the_same_factors(grid):
    with pytest.raises(DataError, match="all of one width"):
        factor_classes(grid, grid[:, :2])


def test_codes_and_factors_of_other_points_are_refused(grid, noise):
    with pytest.raises(DataError, match="400 points have codes and 399 have factors"):
        check_rows(noise, grid[1:])


def test_varying_factors_leaves_out_the_constant_ones():
    assert varying_factors(np.array([[0, 7, 1], [1, 7, 1], [0, 7, 2]])) == [0, 2]


def test_equal_values_do_not_move_however_their_variance_rounds():
    constant = np.full(10_001, 0.1)
    assert moving_codes(np.stack([constant, np.arange(10_001.0)], axis=1)).tolist() == [False, True]
