"""Histograms and information, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.evaluation.disentanglement.information import binned, entropy, mutual_information, top_two_gap


def test_bins_are_of_equal_width_from_least_to_greatest():
    values = np.array([[0.0], [0.49], [0.5], [0.99], [1.0]])
    assert binned(values, 2).ravel().tolist() == [0, 0, 1, 1, 1]


def test_constant_column_falls_into_one_bin():
    assert len(np.unique(binned(np.full((5, 1), 3.0)))) == 1


def test_entropy_of_equal_shares_is_the_logarithm_of_their_number(grid):
    assert entropy(grid) == pytest.approx(np.log([2, 4, 5]))


def test_independent_factors_share_nothing_and_each_knows_itself(grid):
    assert mutual_information(grid, grid) == pytest.approx(np.diag(np.log([2, 4, 5])), abs=1e-12)


def test_parity_shares_one_bit_with_the_number():
    numbers = np.arange(8)[:, None]
    assert mutual_information(numbers % 2, numbers) == pytest.approx(np.log(2))


def test_information_equals_that_of_scikit_learn():
    from sklearn.metrics import mutual_info_score

    rng = np.random.default_rng(0)
    first, second = rng.integers(7, size=(300, 2)), rng.integers(5, size=(300, 3))
    second[:, 0] = first[:, 1] // 2
    expected = [[mutual_info_score(a, b) for b in second.T] for a in first.T]
    assert mutual_information(first, second) == pytest.approx(np.array(expected), abs=1e-12)


def test_gap_is_between_the_two_greatest_of_each_column():
    assert top_two_gap(np.array([[0.1, 3], [0.7, 1], [0.4, 3]])) == pytest.approx([0.3, 0])
