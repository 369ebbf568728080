"""Which attributes can be scored, and as what."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.errors import DataError
from gem_ray.evaluation.factors import Factors, factors_of

RNG = np.random.default_rng(0)
N = 400
GRADED = np.where(RNG.random(N) < 0.3, 0.4 + 0.6 * RNG.random(N), 0.0)
BINARY = RNG.integers(2, size=N) * 2.0 - 1
GRID = RNG.integers(40, size=N).astype(float)
RANGE = RNG.random(N) + 1


def factors(*columns: np.ndarray, most_values: int = 40, bins: int = 5) -> Factors:
    names = [chr(ord("a") + number) for number in range(len(columns))]
    return factors_of(names, np.stack(columns, axis=1), most_values=most_values, bins=bins)


def test_an_attribute_that_never_varies_is_left_out_and_told():
    found = factors(BINARY, np.ones(N), GRID)
    assert found.names == ("a", "c")
    assert [fact.scored for fact in found.facts] == [True, False, True]
    assert found.classes.shape == found.values.shape == (N, 2)


def test_values_of_a_grid_stay_classes_and_continuous_ones_are_cut_into_bins_of_equal_width():
    found = factors(GRID, RANGE)
    assert [fact.num_classes for fact in found.facts] == [40, 5]
    assert (found.classes[:, 0] == GRID).all()
    edges = np.linspace(RANGE.min(), RANGE.max(), 6)[1:-1]
    assert (found.classes[:, 1] == np.digitize(RANGE, edges)).all()
    assert (found.values[:, 1] == RANGE).all()


def test_a_few_points_of_a_continuous_factor_are_not_taken_for_a_grid():
    few = np.where(np.arange(N) % 40 == 0, 0.4 + 0.6 * RNG.random(N), 0.0)  # 0 and ten values of their own
    assert factors(few, GRID).facts[0].num_classes <= 5


def test_presence_of_a_graded_attribute_is_a_label_beside_those_of_two_values():
    found = factors(GRADED, BINARY, RANGE, GRID)
    assert found.label_names == ("a", "b")
    assert (found.labels[:, 0] == (GRADED > 0)).all()
    assert (found.labels[:, 1] == (BINARY > 0)).all()
    assert found.facts[0].presence == (GRADED > 0).mean()
    assert [fact.presence for fact in found.facts[1:]] == [None] * 3


def test_no_labels_are_no_labels():
    assert factors(GRID, RANGE).labels.shape == (N, 0)


def test_what_cannot_be_scored_is_named():
    with pytest.raises(DataError, match="1 of the attributes"):
        factors(GRID, np.ones(N))
    with pytest.raises(DataError, match=r"\['b'\] hold values that are not finite"):
        factors(GRID, np.where(BINARY > 0, np.nan, 1))
