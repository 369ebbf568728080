"""Sums of sign products: against the definition, with ties of every kind, across the sizes where the method turns."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.graph.concordance import count_smaller_before, pair_balance, ranked


def balance_by_definition(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.sign(x[:, None] - x) * np.sign(y[:, None] - y)).sum(1).astype(int)


def make_column(rng: np.random.Generator, size: int) -> np.ndarray:
    kind = rng.integers(4)
    if kind == 0:
        return rng.normal(size=size)
    if kind == 1:
        return rng.integers(0, rng.integers(1, 9), size).astype(float)
    if kind == 2:
        return np.where(rng.random(size) < 0.6, 0.0, rng.normal(size=size))
    return np.full(size, 0.7)


def test_balance_is_that_of_the_definition_on_thousands_of_samples():
    rng = np.random.default_rng(0)
    for _ in range(2_000):
        size = int(rng.integers(1, 40))
        x, y = make_column(rng, size), make_column(rng, size)
        np.testing.assert_array_equal(pair_balance(ranked(x), ranked(y)), balance_by_definition(x, y))


@pytest.mark.parametrize("size", [500, 1500])
def test_balance_is_that_of_the_definition_in_larger_samples(size):
    rng = np.random.default_rng(size)
    for _ in range(6):
        x, y = make_column(rng, size), make_column(rng, size)
        np.testing.assert_array_equal(pair_balance(ranked(x), ranked(y)), balance_by_definition(x, y))


@pytest.mark.parametrize("size", [0, 1, 2, 7, 8, 9, 63, 64, 65, 1000, 1001])
@pytest.mark.parametrize("base", [16, 16_384])
def test_smaller_entries_before_are_counted_by_blocks_and_by_halves(size, base, monkeypatch):
    monkeypatch.setattr("gem_ray.graph.concordance.BASE", base)
    rng = np.random.default_rng(size)
    for sequence in (rng.permutation(size), np.arange(size), np.arange(size)[::-1]):
        expected = [int((sequence[:k] < sequence[k]).sum()) for k in range(size)]
        assert count_smaller_before(sequence).tolist() == expected


def test_large_sample_is_counted_as_a_sorted_list_counts_it():
    rng = np.random.default_rng(1)
    sequence = rng.permutation(40_000)
    counts = count_smaller_before(sequence)
    for k in rng.integers(0, len(sequence), 200):
        assert counts[k] == (sequence[:k] < sequence[k]).sum()


def test_ranks_tell_ties():
    found = ranked(np.array([2.0, -1.0, 2.0, 5.0]))
    assert found.order.tolist() == [1, 0, 2, 3]
    assert (found.below.tolist(), found.up_to.tolist()) == ([1, 0, 1, 3], [3, 1, 3, 4])
    assert (found.tie_sizes.tolist(), found.tied) == ([2, 1, 2, 1], True)
    assert not ranked(np.array([3.0, 1.0])).tied
