"""The relation that scores of traversals show."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.scoring.scripted import answer_of_value
from gem_ray.scoring.traversals import shown_relations


def make_probabilities(values: np.ndarray) -> np.ndarray:
    """Digit distributions [B, T, n, 6] of attribute values [B, T, n]."""
    flat = [answer_of_value(value).probabilities for value in values.ravel()]
    return np.array(flat).reshape(*values.shape, 6)


def test_an_attribute_that_follows_the_node_is_1_one_that_runs_against_it_is_minus_1() -> None:
    steps = np.linspace(0, 1, 6)
    values = np.stack([np.stack([steps, steps[::-1], np.full(6, 0.4)], axis=1)] * 4)
    strength, error = shown_relations(make_probabilities(values))
    assert strength == pytest.approx([1.0, -1.0, 0.0])
    assert error == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)


def test_the_strength_is_somers_d_given_the_position() -> None:
    # Three positions; the score rises only at the last: of the three pairs of positions two are concordant, one tied.
    values = np.stack([np.array([[0.0], [0.0], [1.0]])] * 3)
    strength, _ = shown_relations(make_probabilities(values))
    assert strength == pytest.approx([2 / 3])


def test_start_images_that_disagree_give_a_standard_error() -> None:
    steps = np.linspace(0, 1, 6)
    values = np.stack([steps if k % 4 else steps[::-1] for k in range(16)])[..., None]
    strength, error = shown_relations(make_probabilities(values))
    assert 0.2 < strength[0] < 0.8
    assert 0.02 < error[0] < 0.4


def test_an_image_with_a_missing_answer_is_left_out_and_too_few_images_say_nothing() -> None:
    steps = np.linspace(0, 1, 6)
    probabilities = make_probabilities(np.stack([steps, steps, steps[::-1]])[..., None])
    probabilities[2, 3] = np.nan
    strength, _ = shown_relations(probabilities)
    assert strength == pytest.approx([1.0])
    probabilities[1, 0] = np.nan
    strength, error = shown_relations(probabilities)
    assert (strength[0], error[0]) == (0.0, np.inf)
