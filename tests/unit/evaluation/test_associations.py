"""What latents tell of factors: everything where they are the factors, nothing where they are noise."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from gem_ray.evaluation.association_figures import associations_figure
from gem_ray.evaluation.associations import associate, factor_classes, information_shares


def make_grid(levels: int = 6) -> np.ndarray:
    """Every combination of three independent factors [levels^3, 3]."""
    return np.stack(np.meshgrid(*[np.arange(levels)] * 3, indexing="ij"), axis=-1).reshape(-1, 3).astype(float)


def make_associations(codes: np.ndarray, values: np.ndarray, residual: int = 0, node_dim: int = 1):
    count = (codes.shape[1] - residual) // node_dim
    return associate(
        codes, codes, values, names=tuple(f"node {k}" for k in range(count)), node_dim=node_dim,
        active_L=codes.std(axis=0) > 0.1, factors=tuple(f"factor {j}" for j in range(values.shape[1])), source="a grid",
    )  # fmt: skip


def test_the_tables_of_a_perfect_code_are_a_permutation():
    grid = make_grid()
    permutation = np.eye(3)[[2, 0, 1]]
    found = make_associations(-3 * grid[:, [2, 0, 1]] + 1, grid)
    for table in (found.spearman, found.spearman_rel, found.information, found.information_rel):
        np.testing.assert_allclose(table, permutation, atol=1e-9)


def test_independent_columns_tell_nothing_of_each_other_however_few_the_images():
    rng = np.random.default_rng(0)
    shares = information_shares(rng.random((200, 20)), rng.random((200, 10)))
    assert shares.mean() < 0.02
    assert shares.max() < 0.12


def test_what_is_not_monotone_shows_in_information_and_not_in_correlation():
    value = np.linspace(-1, 1, 401)[:, None]
    found = make_associations(value**2, value)
    assert found.spearman[0, 0] < 0.01
    assert found.information[0, 0] > 0.5


def test_a_factor_that_does_not_vary_or_is_not_known_is_left_open():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, (300, 3)).astype(float)
    codes = values[:, :1].copy()
    values[:, 1] = 2.0
    values[::3, 0] = np.nan
    values[:, 2] = np.nan
    shares = information_shares(codes, values)
    assert shares[0, 0] == pytest.approx(1)
    assert np.isnan(shares[0, 1:]).all()


def test_residual_latents_that_carry_nothing_are_left_out_and_counted():
    grid = make_grid(4)
    codes = np.concatenate([grid, 0 * grid[:, :2], grid[:, :1]], axis=1)
    found = make_associations(codes, grid, residual=3)
    assert found.latents == ("node 0", "node 1", "node 2", "residual 3")
    assert found.hidden == 2
    assert make_associations(codes, grid, residual=0, node_dim=2).latents[:2] == ("node 0 1", "node 0 2")


def test_few_values_are_classes_and_many_are_binned():
    assert factor_classes(np.array([0.5, 0.1, 0.5, 0.9])).tolist() == [1, 0, 1, 2]
    assert len(np.unique(factor_classes(np.linspace(0, 1, 500)))) == 10


@pytest.mark.parametrize("factors", [2, 3, 40])
def test_tables_are_drawn_for_few_and_many_factors_and_open_cells(factors):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, (100, factors)).astype(float)
    values[:, 0] = 1.0
    found = make_associations(rng.random((100, 4)), values, residual=1)
    picture = Image.open(io.BytesIO(associations_figure(found, 3)))
    assert min(picture.size) > 150
