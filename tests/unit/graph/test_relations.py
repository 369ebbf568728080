"""Somers' D: the convention, exactness with ties, and standard errors that mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import somersd

from gem_ray.errors import GraphError
from gem_ray.graph.contingency import estimates_of_distributions
from gem_ray.graph.relations import (
    Relations,
    relations_from_probabilities,
    relations_from_scores,
    relations_from_values,
    somers_d,
    somers_d_of_values,
    strength_interval,
    strength_z,
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


def test_values_agree_with_scipy_on_a_thousand_samples_with_ties_both_ways():
    rng = np.random.default_rng(1)
    for _ in range(1_000):
        x, y = make_tied_pair(rng)
        assert somers_d_of_values(x, y) == pytest.approx(somersd(x, y).statistic, abs=1e-12)
        assert somers_d_of_values(y, x) == pytest.approx(somersd(y, x).statistic, abs=1e-12)


def test_tables_agree_with_scipy_on_a_thousand_tables():
    rng = np.random.default_rng(2)
    tables = rng.integers(0, 30, size=(1_000, 4, 6)) + (rng.random((1_000, 4, 6)) < 0.5)
    expected = [somersd(table).statistic for table in tables]
    np.testing.assert_allclose(somers_d(tables.astype(float)), expected, atol=1e-12)


def test_relations_of_values_agree_with_scipy_in_small_samples_of_every_kind():
    rng = np.random.default_rng(3)
    for _ in range(100):
        size = int(rng.integers(3, 40))
        values = rng.normal(size=(size, 4))
        values[:, 1] = rng.integers(0, rng.integers(1, 7), size)  # perhaps constant
        values[:, 2] = np.where(rng.random(size) < 0.6, 0.0, values[:, 2])  # perhaps constant too
        values[rng.random((size, 4)) < 0.1] = np.nan
        strength = relations_from_values(values).strength
        for i, j in np.argwhere(~np.eye(4, dtype=bool)):
            x, y = values[~np.isnan(values[:, [i, j]]).any(1)][:, [i, j]].T
            constant = len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0
            expected = 0.0 if constant else somersd(x, y).statistic
            assert strength[i, j] == pytest.approx(expected, abs=1e-12)


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
    known = ~np.isnan(p[..., 0])
    error = estimates_of_distributions(np.nan_to_num(p), known).standard_error
    for i, j in ((0, 2), (0, 1), (1, 2), (2, 1)):
        kept = p[known[:, i] & known[:, j]]
        expected = leave_one_out_error(kept, lambda part, i=i, j=j: relations_from_probabilities(part).strength[i, j])
        assert error[i, j] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("most_levels", [0, 16])
def test_jackknife_of_values_is_that_of_leaving_every_image_out_in_turn(most_levels, monkeypatch):
    monkeypatch.setattr("gem_ray.graph.relations.MOST_LEVELS", most_levels)
    monkeypatch.setattr("gem_ray.graph.relations.careful_error", lambda error, *_: error)
    x, y = make_tied_pair(np.random.default_rng(7))
    error = relations_from_values(np.stack([x, y], 1)).standard_error
    for (i, j), columns in (((0, 1), (x, y)), ((1, 0), (y, x))):
        expected = leave_one_out_error(np.stack(columns, 1), lambda part: somersd(part[:, 0], part[:, 1]).statistic)
        assert error[i, j] == pytest.approx(expected, rel=1e-9)


def test_tables_and_ranks_give_the_same_relations(monkeypatch):
    rng = np.random.default_rng(14)
    values = rng.integers(0, 5, size=(300, 4)).astype(float)
    values[:, 1] = np.maximum(values[:, 0], values[:, 1])
    values[rng.random((300, 4)) < 0.1] = np.nan
    by_table = relations_from_values(values)
    monkeypatch.setattr("gem_ray.graph.relations.MOST_LEVELS", 0)
    by_rank = relations_from_values(values)
    np.testing.assert_allclose(by_table.strength, by_rank.strength, atol=1e-12)
    np.testing.assert_allclose(by_table.standard_error, by_rank.standard_error, atol=1e-12)


def make_population(shape: str, correlation: float) -> np.ndarray:
    """Digit distributions [100,000, 2, 6] of two related attributes: graded, absent or present, rare, or not sure."""
    rng = np.random.default_rng(8)
    x, noise = rng.normal(size=(2, 100_000))
    latent = np.stack([x, correlation * x + np.sqrt(1 - correlation**2) * noise], axis=1)
    if shape == "not sure":
        logits = -((np.arange(6) - 2.5 - 1.3 * latent[..., None]) ** 2)
        return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    if shape == "graded":
        return one_hot(np.searchsorted([-1.2, -0.5, 0, 0.5, 1.2], latent))
    shares = {"present": (0.42, 0.17), "rare": (0.06, 0.25)}[shape]
    return one_hot(5 * (latent > np.quantile(latent, 1 - np.array(shares), axis=0).diagonal()))


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(("shape", "size"), [("graded", 100), ("not sure", 100), ("present", 150), ("rare", 500)])
def test_intervals_cover_the_truth_as_often_as_they_say(shape, size, correlation):
    population = make_population(shape, correlation)
    truth = relations_from_probabilities(population).strength
    rng, covered, trials = np.random.default_rng(9), np.zeros((2, 2)), 800
    for _ in range(trials):
        sample = relations_from_probabilities(population[rng.integers(0, len(population), size)])
        low, high = strength_interval(sample.strength, sample.standard_error)
        covered += (low <= truth) & (truth <= high)
    share = covered[[0, 1], [1, 0]] / trials
    # Nominal .95; three binomial deviations of 800 trials are .023. A quadrant of the rarest and strongest pair is
    # nearly empty, where the error is careful on purpose.
    careful = (shape, correlation) in (("rare", 0.9), ("present", 0.9))
    assert (share > 0.92).all()
    assert (share < (1.0001 if careful else 0.98)).all()


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.95])
@pytest.mark.parametrize("inflated", [False, True])
def test_intervals_of_real_values_cover_the_truth_as_often_as_they_say(inflated, correlation):
    rng, covered, trials, size = np.random.default_rng(10), np.zeros((2, 2)), 800, 100

    def draw(count: int) -> np.ndarray:
        x, noise = rng.normal(size=(2, count))
        latent = np.stack([x, correlation * x + np.sqrt(1 - correlation**2) * noise], axis=1)
        return np.maximum(latent, 0.0) if inflated else latent

    truth = relations_from_values(draw(40_000)).strength
    for _ in range(trials):
        sample = relations_from_values(draw(size))
        low, high = strength_interval(sample.strength, sample.standard_error)
        covered += (low <= truth) & (truth <= high)
    share = covered[[0, 1], [1, 0]] / trials
    assert (share > 0.92).all()
    assert (share < 0.98).all()


def test_interval_stays_in_range_and_spans_it_without_evidence():
    strength, error = np.array([0.0, 1.0, -0.98, 0.3, 0.4]), np.array([np.inf, 1 / 60, 0.05, 0.1, 0.0])
    low, high = strength_interval(strength, error)
    assert (low >= -1).all()
    assert (high <= 1).all()
    assert (low[0], high[0]) == (-1, 1)
    assert (high[1], low[1]) == (1, pytest.approx(0.9, abs=0.03))  # 60 of 60: three in 60 may well be otherwise
    assert (low[2], high[2]) == (pytest.approx(-0.993, abs=0.003), pytest.approx(-0.70, abs=0.05))
    assert (low[3], high[3]) == (pytest.approx(0.3 - 0.196, abs=0.02), pytest.approx(0.3 + 0.196, abs=0.02))
    assert (low[4], high[4]) == (pytest.approx(0.4), pytest.approx(0.4))
    assert strength_interval(np.array(0.3), np.array(0.1), 0.5)[0] > low[3]


def test_interval_excludes_zero_where_its_z_is_large_enough():
    rng = np.random.default_rng(18)
    strength, error = rng.uniform(-1, 1, 500), rng.exponential(0.3, 500)
    low, high = strength_interval(strength, error)
    excluded = (low > 0) | (high < 0)
    np.testing.assert_array_equal(excluded, np.abs(strength_z(strength, error)) > 1.959964)
    exact = strength_z(np.array([0.4, -0.4, 0.0, 0.4]), np.array([0.0, 0.0, 0.0, np.inf]))
    assert exact.tolist() == [np.inf, -np.inf, 0.0, 0.0]


@pytest.mark.parametrize("estimator", ["most_likely", "rounded", "expectation", "expected_table"])
def test_estimators_agree_where_the_model_is_sure(estimator):
    digits = np.random.default_rng(15).integers(0, 6, size=(200, 3)).astype(float)
    digits[:, 1] = np.minimum(digits[:, 0], digits[:, 1])
    p = one_hot(digits)
    p[5, 1] = np.nan
    digits[5, 1] = np.nan
    relations, expected = relations_from_scores(p, estimator), relations_from_values(digits)
    np.testing.assert_allclose(relations.strength, expected.strength, atol=1e-12)
    np.testing.assert_allclose(relations.standard_error, expected.standard_error, rtol=1e-9)
    np.testing.assert_array_equal(relations.num_observations, expected.num_observations)


def test_estimators_differ_as_they_are_defined_where_the_model_is_not_sure():
    p = make_digits(np.random.default_rng(16), 40, 2)
    values = {"most_likely": p.argmax(-1), "rounded": np.rint(p @ np.arange(6)), "expectation": p @ np.arange(6)}
    for estimator, columns in values.items():
        expected = somersd(*columns.T).statistic
        assert relations_from_scores(p, estimator).strength[0, 1] == pytest.approx(expected, abs=1e-12)


def test_unknown_estimator_is_refused_by_name():
    with pytest.raises(GraphError, match="'median'"):
        relations_from_scores(make_digits(np.random.default_rng(17), 10, 2), "median")


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
    assert relations.standard_error[0, 1] == pytest.approx(1 / 60, rel=0.02)


def test_result_does_not_depend_on_the_size_of_the_chunks(monkeypatch):
    rng = np.random.default_rng(11)
    p, values = make_digits(rng, 101, 4), rng.integers(0, 5, size=(101, 3)).astype(float)
    whole, whole_of_values = relations_from_probabilities(p), relations_from_values(values)
    monkeypatch.setattr("gem_ray.graph.contingency.CHUNK", 7)
    monkeypatch.setattr("gem_ray.graph.contingency.ONE_HOT_BYTES", 8 * 3 * 5 * 10)
    np.testing.assert_allclose(relations_from_probabilities(p).standard_error, whole.standard_error, rtol=1e-12)
    np.testing.assert_array_equal(relations_from_values(values).standard_error, whole_of_values.standard_error)


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
