"""Somers' D: the convention, exactness with ties, and standard errors that mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import somersd

from gem_ray.errors import GraphError
from gem_ray.graph.relations import (
    Relations,
    relations_from_probabilities,
    relations_from_values,
    somers_d,
    somers_d_of_values,
)

# CelebA, 202,599 images: P(beard | male), P(male | beard), P(male), P(beard).
BEARD_GIVEN_MALE, MALE, BEARD = 0.3944, 0.4168, 0.1651


def make_binary_sample(num_images: int = 10_000) -> np.ndarray:
    """Columns male and beard with CelebA's frequencies, exactly."""
    both = round(BEARD_GIVEN_MALE * MALE * num_images)
    only_male = round(MALE * num_images) - both
    only_beard = round(BEARD * num_images) - both
    counts = [both, only_male, only_beard, num_images - both - only_male - only_beard]
    return np.repeat(np.array([[1, 1], [1, 0], [0, 1], [0, 0]], dtype=float), counts, axis=0)


def make_tied_pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    size = int(rng.integers(3, 80))
    x = rng.integers(0, rng.integers(2, 9), size).astype(float)
    y = rng.integers(0, rng.integers(2, 9), size) + x * rng.integers(-1, 2)
    x[0], x[1], y[0], y[1] = 0, 1, 10, 11  # neither is constant: scipy answers NaN there
    return x, y


def make_digits(rng: np.random.Generator, num_images: int, n: int) -> np.ndarray:
    """Digit distributions [N, n, 6] of correlated attributes, as a scorer that is not sure would give them."""
    base = rng.normal(size=(num_images, 1)) + rng.normal(size=(num_images, n))
    logits = -((np.arange(6) - 2.5 - base[..., None]) ** 2)
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def one_hot(digits: np.ndarray) -> np.ndarray:
    return np.eye(6)[digits.astype(int)]


def leave_one_out_error(values: np.ndarray, statistic) -> float:
    left_out = np.array([statistic(np.delete(values, k, axis=0)) for k in range(len(values))])
    return float(np.sqrt((len(values) - 1) * left_out.var()))


def test_strength_of_i_on_j_is_the_change_of_j_that_goes_with_i():
    male, beard = make_binary_sample().T
    strength = relations_from_values(np.stack([male, beard], axis=1)).strength
    assert strength[0, 1] == pytest.approx(beard[male == 1].mean() - beard[male == 0].mean(), abs=1e-12)
    assert strength[1, 0] == pytest.approx(male[beard == 1].mean() - male[beard == 0].mean(), abs=1e-12)
    assert strength[0, 1] == pytest.approx(0.39, abs=0.005)
    assert strength[1, 0] == pytest.approx(0.69, abs=0.01)


def test_direction_is_that_of_scipy_with_the_source_first():
    male, beard = make_binary_sample(500).T
    assert somers_d_of_values(male, beard) == pytest.approx(somersd(male, beard).statistic, abs=1e-12)
    table = np.array([[np.sum((male == a) & (beard == b)) for b in (0, 1)] for a in (0, 1)], dtype=float)
    assert somers_d(table) == pytest.approx(somersd(table).statistic, abs=1e-12)
    assert somers_d(table) != pytest.approx(somers_d(table.T), abs=0.1)


def test_values_agree_with_scipy_on_hundreds_of_samples_with_ties():
    rng = np.random.default_rng(1)
    for _ in range(300):
        x, y = make_tied_pair(rng)
        assert somers_d_of_values(x, y) == pytest.approx(somersd(x, y).statistic, abs=1e-12)
        assert somers_d_of_values(y, x) == pytest.approx(somersd(y, x).statistic, abs=1e-12)


def test_tables_agree_with_scipy_on_hundreds_of_tables():
    rng = np.random.default_rng(2)
    tables = rng.integers(0, 30, size=(300, 4, 6)) + (rng.random((300, 4, 6)) < 0.5)
    expected = [somersd(table).statistic for table in tables]
    np.testing.assert_allclose(somers_d(tables.astype(float)), expected, atol=1e-12)


def test_untied_values_give_kendalls_tau_in_both_directions():
    values = np.random.default_rng(3).normal(size=(60, 2))
    strength = relations_from_values(values).strength
    assert strength[0, 1] == strength[1, 0] == pytest.approx(somersd(*values.T).statistic, abs=1e-12)


def test_certain_digits_and_their_values_give_the_same_relations():
    digits = np.random.default_rng(4).integers(0, 6, size=(500, 5)).astype(float)
    digits[:, 1] = np.maximum(digits[:, 0], digits[:, 1])
    of_values, of_digits = relations_from_values(digits), relations_from_probabilities(one_hot(digits))
    np.testing.assert_allclose(of_digits.strength, of_values.strength, atol=1e-12)
    np.testing.assert_allclose(of_digits.standard_error, of_values.standard_error, atol=1e-12)
    np.testing.assert_array_equal(of_digits.num_observations, of_values.num_observations)


def test_expected_table_is_that_of_the_definition():
    p = make_digits(np.random.default_rng(5), 60, 3)
    strength = relations_from_probabilities(p).strength
    for i, j in ((0, 1), (1, 0), (2, 1)):
        table = np.mean([np.outer(a, b) for a, b in zip(p[:, i], p[:, j])], axis=0)
        assert strength[i, j] == pytest.approx(somersd(np.round(table * 1e9)).statistic, abs=1e-6)
    np.testing.assert_array_equal(np.diag(strength), 0)


def test_jackknife_is_that_of_leaving_every_image_out_in_turn():
    p = make_digits(np.random.default_rng(6), 40, 3)
    p[3:9, 1] = np.nan
    relations = relations_from_probabilities(p)
    for i, j in ((0, 2), (0, 1), (1, 2), (2, 1)):
        kept = p[~np.isnan(p[:, [i, j]]).any((1, 2))]
        expected = leave_one_out_error(kept, lambda part, i=i, j=j: relations_from_probabilities(part).strength[i, j])
        assert relations.standard_error[i, j] == pytest.approx(expected, rel=1e-9)


def test_jackknife_of_values_is_that_of_leaving_every_image_out_in_turn():
    rng = np.random.default_rng(7)
    x, y = make_tied_pair(rng)
    error = relations_from_values(np.stack([x, y], 1)).standard_error
    for (i, j), columns in (((0, 1), (x, y)), ((1, 0), (y, x))):
        expected = leave_one_out_error(np.stack(columns, 1), lambda part: somersd(part[:, 0], part[:, 1]).statistic)
        assert error[i, j] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("certain", [True, False])
def test_standard_error_covers_the_truth_about_as_often_as_it_says(certain):
    rng = np.random.default_rng(8)
    population = make_digits(rng, 100_000, 2)
    if certain:
        population = one_hot(population.argmax(-1))
    truth = relations_from_probabilities(population).strength[0, 1]
    covered = 0
    for _ in range(400):
        sample = relations_from_probabilities(population[rng.integers(0, len(population), 150)])
        covered += abs(sample.strength[0, 1] - truth) < 1.96 * sample.standard_error[0, 1]
    # 95 % expected; three binomial deviations of 400 trials are 3.3 %
    assert 0.91 < covered / 400 < 0.985


def test_missing_answers_are_left_out_pair_by_pair():
    p = make_digits(np.random.default_rng(9), 200, 3)
    p[:50, 0] = np.nan
    p[100:120, 1] = np.nan
    relations = relations_from_probabilities(p)
    np.testing.assert_array_equal(relations.num_observations, [[150, 130, 150], [130, 180, 180], [150, 180, 200]])
    alone = relations_from_probabilities(np.delete(p, np.r_[:50, 100:120], axis=0))
    assert relations.strength[0, 1] == pytest.approx(alone.strength[0, 1], abs=1e-12)
    assert relations.standard_error[1, 0] == pytest.approx(alone.standard_error[1, 0], rel=1e-9)


def relations_of_constant_digits() -> Relations:
    p = make_digits(np.random.default_rng(10), 100, 3)
    p[:, 1] = one_hot(np.array(2))
    return relations_from_probabilities(p)


def relations_of_a_scorer_that_always_says_the_same() -> Relations:
    p = make_digits(np.random.default_rng(10), 100, 3)
    p[:, 1] = [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]
    return relations_from_probabilities(p)


def relations_of_constant_values() -> Relations:
    values = np.random.default_rng(10).normal(size=(100, 3))
    values[:, 1] = 0.7
    return relations_from_values(values)


@pytest.mark.parametrize(
    "relate",
    [relations_of_constant_digits, relations_of_a_scorer_that_always_says_the_same, relations_of_constant_values],
)
def test_constant_attribute_has_no_relation_and_no_certainty(relate):
    relations = relate()
    for i, j in ((0, 1), (1, 0), (1, 2), (2, 1)):
        assert relations.strength[i, j] == 0
        assert relations.standard_error[i, j] == np.inf
    assert abs(relations.strength[0, 2]) <= 1
    assert np.isfinite(relations.standard_error[0, 2])


def test_relation_that_hangs_on_one_image_has_an_infinite_error():
    digits = np.zeros((50, 2))
    digits[:, 1] = np.arange(50) % 6
    digits[7, 0] = 5
    assert relations_from_probabilities(one_hot(digits)).standard_error[0, 1] == np.inf
    assert relations_from_values(digits).standard_error[0, 1] == np.inf


def test_perfect_relation_does_not_claim_an_error_of_zero():
    digits = np.repeat(np.arange(6.0)[:, None], 2, axis=1).repeat(10, axis=0)
    relations = relations_from_probabilities(one_hot(digits))
    assert relations.strength[0, 1] == pytest.approx(1)
    assert relations.standard_error[0, 1] == pytest.approx(1 / 60)


def test_result_does_not_depend_on_the_size_of_the_chunks(monkeypatch):
    p = make_digits(np.random.default_rng(11), 101, 4)
    whole = relations_from_probabilities(p)
    monkeypatch.setattr("gem_ray.graph.relations.CHUNK_BYTES", 8 * 4 * 4 * 6 * 7)
    np.testing.assert_allclose(relations_from_probabilities(p).standard_error, whole.standard_error, rtol=1e-12)


def test_no_image_at_all_gives_no_relation():
    relations = relations_from_probabilities(np.zeros((0, 3, 6)))
    np.testing.assert_array_equal(relations.strength, np.zeros((3, 3)))
    assert np.isinf(relations.standard_error).all()


@pytest.mark.parametrize("row", [[0.5] * 6, [-0.1, 1.1, 0, 0, 0, 0], [np.nan, 1, 0, 0, 0, 0], [np.inf, 0, 0, 0, 0, 0]])
def test_row_that_is_no_distribution_is_refused_by_image_and_attribute(row):
    p = make_digits(np.random.default_rng(12), 10, 2)
    p[4, 1] = row
    with pytest.raises(GraphError, match="image 4, attribute 1"):
        relations_from_probabilities(p)
