"""Means, spreads and paired differences against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from gem_ray.table.statistics import Spread, best_of, paired, spread


def test_mean_deviation_and_interval_of_three_seeds_are_those_of_the_textbook():
    found = spread({0: 1.0, 1: 2.0, 2: 3.0})
    assert (found.n, found.mean, found.deviation) == (3, 2.0, 1.0)
    half = 4.302652729911275 / math.sqrt(3)  # t of 2 degrees of freedom at 97.5 %
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))


def test_one_seed_has_a_mean_but_no_spread_and_none_has_nothing():
    one = spread({4: 0.25})
    assert (one.n, one.mean) == (1, 0.25)
    assert all(math.isnan(value) for value in (one.deviation, one.low, one.high))
    none = spread({0: None, 1: math.nan})
    assert none.n == 0
    assert math.isnan(none.mean)


def test_pairing_takes_out_what_a_seed_does_to_all_methods_alike():
    reference = {0: 0.1, 1: 0.5, 2: 0.9}
    method = {seed: value + 0.05 for seed, value in reference.items()} | {2: 0.96}
    found = paired(method, reference)
    assert found.differences == pytest.approx((0.05, 0.05, 0.06))
    assert found.is_clear
    assert found.same_sign == 3
    assert spread(method).deviation > 5 * np.std(found.differences), "unpaired, the seeds would hide it"


def test_p_and_interval_agree_with_the_formula_and_with_each_other():
    method, reference = {0: 0.3, 1: 0.5, 2: 0.2, 3: 0.45}, {0: 0.2, 1: 0.45, 2: 0.25, 3: 0.3}
    differences = np.array([0.1, 0.05, -0.05, 0.15])
    t = differences.mean() / (differences.std(ddof=1) / 2)
    found = paired(method, reference)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), 3))
    assert found.p == pytest.approx(stats.ttest_rel(list(method.values()), list(reference.values())).pvalue)
    assert found.same_sign == 3
    assert found.is_clear == (found.p < 0.05)
    half = stats.t.ppf(0.975, 3) * differences.std(ddof=1) / 2
    assert (found.low, found.high) == pytest.approx((differences.mean() - half, differences.mean() + half))


def test_only_seeds_that_both_have_are_paired():
    found = paired({0: 1.0, 1: 2.0, 3: None}, {1: 1.5, 2: 9.0, 3: 1.0})
    assert (found.n, found.mean, found.differences) == (1, 0.5, (0.5,))
    assert math.isnan(found.p)
    assert not found.is_clear
    assert paired({0: 1.0}, {1: 1.0}).n == 0


def test_differences_without_any_spread_are_clear_unless_they_are_nothing():
    assert paired({0: 2.0, 1: 3.0}, {0: 1.0, 1: 2.0}).p == 0.0
    nothing = paired({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0})
    assert nothing.p == 1.0
    assert not nothing.is_clear


def test_the_best_is_the_highest_or_lowest_mean_and_those_within_the_larger_deviation_are_named():
    def at(mean: float, deviation: float) -> Spread:
        return Spread(3, mean, deviation, math.nan, math.nan)

    means = {"a": at(0.5, 0.01), "b": at(0.45, 0.06), "c": at(0.45, 0.02), "d": spread({})}
    assert best_of(means, higher_is_better=True) == ("a", ("b",))
    best, within = best_of(means, higher_is_better=False)
    assert best == "b"
    assert set(within) == {"a", "c"}
    assert best_of({"d": spread({})}, higher_is_better=True) == (None, ())


def test_with_one_seed_only_equal_means_are_within():
    means = {"a": spread({0: 0.5}), "b": spread({0: 0.5}), "c": spread({0: 0.499})}
    assert best_of(means, higher_is_better=True) == ("a", ("b",))
