"""Statistics of a check, against scipy, scikit-learn and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, spearmanr
from sklearn.metrics import roc_auc_score

from gem_ray.scoring.checking.agreement import (
    accuracy,
    auroc,
    best_threshold,
    calibration_error,
    rank_correlation,
    reliability,
)


def test_the_area_is_that_of_scikit_learn_ties_included():
    rng = np.random.default_rng(1)
    for _ in range(50):
        present = rng.random(40) < 0.3
        present[:2] = True, False
        scores = rng.integers(0, 6, 40).astype(float)
        found = auroc(scores, present)
        assert found.value == pytest.approx(roc_auc_score(present, scores))
        assert found.low <= found.value <= found.high


@pytest.mark.parametrize(("present", "absent", "shift"), [(10, 60, 0.0), (10, 60, 1.0), (40, 40, 1.5), (5, 100, 0.5)])
def test_the_interval_of_the_area_covers_the_truth_as_often_as_it_says(present, absent, shift):
    rng = np.random.default_rng(2)
    truth = norm.cdf(shift / np.sqrt(2))
    labels = np.arange(present + absent) < present
    found = [auroc(rng.normal(size=len(labels)) + shift * labels, labels) for _ in range(600)]
    assert 0.92 <= np.mean([interval.low <= truth <= interval.high for interval in found]) <= 0.98


def test_a_perfect_area_of_few_images_is_no_certainty():
    labels = np.arange(100) < 1
    assert auroc(labels.astype(float), labels).low < 0.5
    labels = np.arange(100) < 12
    assert auroc(labels.astype(float), labels).low > 0.8


def test_one_class_only_has_no_area():
    assert np.isnan(auroc(np.arange(4.0), np.ones(4, bool)).value)


def test_the_rank_correlation_is_scipys_and_its_interval_covers_it():
    rng = np.random.default_rng(3)
    covered = []
    for _ in range(60):
        x, noise = rng.normal(size=(2, 80))
        found = rank_correlation(x, 0.6 * x + 0.8 * noise)
        covered.append(found.low <= 6 / np.pi * np.arcsin(0.6 / 2) <= found.high)
    assert found.value == pytest.approx(spearmanr(x, 0.6 * x + 0.8 * noise).statistic)
    assert np.mean(covered) > 0.87  # 95 % of 60, less three standard errors


def test_constant_scores_have_no_rank_correlation():
    assert np.isnan(rank_correlation(np.ones(9), np.arange(9.0)).low)


def test_the_best_threshold_is_right_at_least_as_often_as_any_other():
    rng = np.random.default_rng(4)
    for _ in range(30):
        present = rng.random(25) < 0.4
        scores = np.round(5 * rng.random(25), 1)
        threshold, best = best_threshold(scores, present)
        assert best == pytest.approx(accuracy(scores, present, threshold))
        assert best == pytest.approx(max(accuracy(scores, present, other) for other in np.arange(-0.05, 5.2, 0.05)))


def test_calibration_is_the_mean_distance_of_the_bins_from_the_truth():
    truth = np.array([0.1, 0.1, 0.9, 0.9])
    assert calibration_error(reliability(5 * truth, truth)) == pytest.approx(0.0)
    bins = reliability(np.array([0.5, 0.5, 4.5, 4.5]), np.array([0.1, 0.1, 0.9, 0.7]))
    assert [part.count for part in bins] == [2, 2]
    assert calibration_error(bins) == pytest.approx((0.0 * 2 + 0.5 * 2) / 4)
