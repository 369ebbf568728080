"""Correlated pairs of factors: the sampled distribution, its exact relations, and a hold-out of its own."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import somersd

from gem_ray.data.correlated import (
    Correlation,
    correlation_of,
    draw_correlated,
    grid_relations,
    is_full_grid,
)
from gem_ray.errors import ConfigError, DataError


def make_grid(*sizes: int) -> np.ndarray:
    return np.array(list(product(*(np.linspace(0, 1, size) for size in sizes))))


GRID = make_grid(5, 8, 6)
PAIR = Correlation(first=1, second=2, slope=0.7, width=0.25)


def test_weights_are_those_of_the_formula():
    assert PAIR.density(np.array([0.0, 0.5, 0.7]), np.array([0.0, 0.2, 1.0])) == pytest.approx(
        [1.0, np.exp(-((0.5 - 0.14) ** 2) / (2 * 0.25**2)), 1.0]
    )


def test_images_are_drawn_in_proportion_to_the_weights():
    train, _ = draw_correlated(GRID, PAIR, num_train=200_000, num_held_out=1, seed=3)
    cells, counts = np.unique(train, return_counts=True)
    assert 0.75 * len(GRID) < len(cells) <= 0.8 * len(GRID)  # a few cells are too unlikely to turn up
    weight = PAIR.density(GRID[cells, 1], GRID[cells, 2])
    expected = 200_000 * weight / weight.sum()
    often = expected > 50
    # Counts of so many draws are Poisson to good measure.
    assert np.abs((counts - expected)[often] / np.sqrt(expected[often])).max() < 5
    assert np.corrcoef(GRID[train, 1], GRID[train, 2])[0, 1] > 0.5
    assert abs(np.corrcoef(GRID[train, 0], GRID[train, 2])[0, 1]) < 0.05


def test_no_image_is_in_training_and_hold_out():
    train, held_out = draw_correlated(GRID, PAIR, num_train=5000, num_held_out=300, seed=3)
    assert (len(train), len(held_out)) == (5000, 300)
    assert not set(train) & set(held_out)
    again = draw_correlated(GRID, PAIR, num_train=5000, num_held_out=300, seed=3)
    assert np.array_equal(train, again[0])
    assert not np.array_equal(train, draw_correlated(GRID, PAIR, num_train=5000, num_held_out=300, seed=4)[0])


def test_true_relations_are_somers_d_of_what_is_drawn():
    strength = grid_relations(GRID, PAIR)
    # Drawn from the whole grid, as the relations are: the reserved fifth shifts what a small grid gives.
    weight = PAIR.density(GRID[:, 1], GRID[:, 2])
    rows = np.random.default_rng(0).choice(len(GRID), 20_000, p=weight / weight.sum())
    for i, j in ((1, 2), (2, 1), (0, 2), (1, 0)):
        assert strength[i, j] == pytest.approx(somersd(GRID[rows, i], GRID[rows, j]).statistic, abs=0.015)
    assert strength[1, 2] > 0.3
    assert strength[0, 1] == strength[0, 2] == strength[2, 0] == 0.0
    assert not grid_relations(GRID, None).any()


def test_a_full_grid_has_every_combination_once():
    assert is_full_grid(GRID)
    assert is_full_grid(np.random.default_rng(0).permutation(GRID))
    assert not is_full_grid(GRID[1:])
    doubled = GRID.copy()
    doubled[0] = GRID[1]
    assert not is_full_grid(doubled)
    with pytest.raises(DataError, match="needs a full grid"):
        draw_correlated(GRID[1:], PAIR, num_train=5, num_held_out=1, seed=0)


def test_factors_are_called_by_name():
    assert correlation_of(("a", "b", "c"), ["c", "a"], 1.0, 0.2) == Correlation(2, 0, 1.0, 0.2)
    with pytest.raises(ConfigError, match="no factor z; it has a, b"):
        correlation_of(("a", "b"), ["a", "z"], 1.0, 0.2)
