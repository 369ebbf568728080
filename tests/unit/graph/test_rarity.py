"""Errors of attributes that few images show: by hand where they are raised, untouched where the sample is ample."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gem_ray.graph.rarity import careful_error


def make_sample(both: int, source: int, target: int, count: int) -> np.ndarray:
    """off_mode [N, 2] with the given numbers of images that show both attributes, the first and the second."""
    off = np.zeros((count, 2))
    off[:source, 0] = 1
    off[:both, 1] = 1
    off[source : source + target - both, 1] = 1
    return off


def careful(off: np.ndarray, error: float = 0.01) -> np.ndarray:
    return careful_error(np.full((2, 2), error), off, np.ones(off.shape, dtype=bool))


def test_ample_sample_keeps_its_jackknife():
    assert careful(make_sample(300, 500, 700, 2000))[0, 1] == pytest.approx(0.01, rel=2e-3)


def test_error_is_widened_by_the_smaller_side():
    assert careful(make_sample(8, 20, 300, 1000))[1, 0] == pytest.approx(0.01 * math.sqrt(1 + 1 / 20))


def test_pair_that_was_never_seen_together_is_not_surely_exclusive():
    error = careful(make_sample(0, 20, 100, 1000))
    given, not_given = 1 / 22, 101 / 982
    assert error[0, 1] == pytest.approx(math.sqrt(given * (1 - given) / 22 + not_given * (1 - not_given) / 982))
    given, not_given = 1 / 102, 21 / 902
    assert error[1, 0] == pytest.approx(math.sqrt(given * (1 - given) / 102 + not_given * (1 - not_given) / 902))


def test_larger_jackknife_stands():
    assert careful(make_sample(0, 20, 100, 1000), error=0.5)[0, 1] == pytest.approx(0.5 * math.sqrt(1 + 1 / 20))


def test_attribute_that_two_images_show_says_nothing():
    assert np.isinf(careful(make_sample(1, 2, 400, 1000))[[0, 1], [1, 0]]).all()
    assert np.isfinite(careful(make_sample(1, 3, 400, 1000))[[0, 1], [1, 0]]).all()


def test_only_images_known_on_both_sides_count():
    off = make_sample(0, 20, 100, 1000)
    known = np.ones(off.shape, dtype=bool)
    known[2:20, 1] = False  # of the 20 images with the first attribute the second is known in 2
    error = careful_error(np.full((2, 2), 0.01), off, known)
    assert np.isinf(error[[0, 1], [1, 0]]).all()


def test_strong_relation_of_graded_attributes_is_not_taken_for_a_rare_one():
    grades = np.repeat(np.arange(6), 50)
    off = np.stack([grades != 0, grades != 0], axis=1).astype(float)  # no image has one of them alone
    assert careful(off)[0, 1] == pytest.approx(0.01, rel=3e-3)
