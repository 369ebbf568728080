"""DCI: reference values (from the stored importances, and from scratch), and importances worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.errors import DataError
from gem_ray.evaluation.disentanglement.dci import completeness, dci, disentanglement

QUICK = ["const_dims"]
SLOW = ["perfect", "random", "nonlinear", "duplicated", "mix10", "mix30", "mix60", "mix100"]  # 3,100 trees each
SUBSET = "dci_sub2000_1000_seeds012_[D,C,Itr,Ite]"


def scores_on_the_first(case, num_train: int, num_test: int, workers: int = 1):
    return dci(
        case.codes[:num_train],
        case.factors[:num_train],
        case.test_codes[:num_test],
        case.test_factors[:num_test],
        seed=0,
        workers=workers,
    )


def test_scores_of_the_stored_importances_equal_the_reference(case):
    importance = case.arrays["dci_importance"]
    assert disentanglement(importance) == pytest.approx(case.values["dci_disentanglement"], abs=1e-6)
    assert completeness(importance) == pytest.approx(case.values["dci_completeness"], abs=1e-6)


@pytest.mark.parametrize("case", QUICK + [pytest.param(name, marks=pytest.mark.slow) for name in SLOW], indirect=True)
def test_scores_from_scratch_equal_the_reference(case):
    assert scores_on_the_first(case, 2_000, 1_000)[:4] == pytest.approx(case.values[SUBSET][0], abs=0.005)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("case", ["duplicated", "mix60"], indirect=True)
def test_scores_from_scratch_equal_the_reference_on_all_points(case):
    result = scores_on_the_first(case, 10_000, 5_000, workers=2)
    names = ("disentanglement", "completeness", "informativeness_train", "informativeness_test")
    assert result[:4] == pytest.approx([case.values[f"dci_{name}"] for name in names], abs=0.005)
    assert result.importance == pytest.approx(case.arrays["dci_importance"], abs=0.01)


def test_one_code_per_factor_is_disentangled_and_complete():
    importance = np.vstack([np.diag([1.0, 0.5, 0.2]), np.zeros((2, 3))])
    assert disentanglement(importance) == pytest.approx(1, abs=1e-8)
    assert completeness(importance) == pytest.approx(1, abs=1e-8)


def test_code_of_two_factors_is_complete_but_half_disentangled():
    # a code of two of four factors has entropy ln 2 / ln 4 = 1/2
    importance = np.array([[1.0, 1, 0, 0], [0, 0, 1, 1]])
    assert disentanglement(importance) == pytest.approx(0.5, abs=1e-8)
    assert completeness(importance) == pytest.approx(1, abs=1e-8)


def test_two_codes_of_one_factor_are_disentangled_but_half_complete():
    importance = np.array([[1.0, 1, 0, 0], [0, 0, 1, 1]]).T
    assert disentanglement(importance) == pytest.approx(1, abs=1e-8)
    assert completeness(importance) == pytest.approx(0.5, abs=1e-8)


def test_codes_count_by_their_importance():
    # weights 3/4 and 1/4: 3/4 x 1 + 1/4 x 0
    importance = np.array([[3.0, 0], [0.5, 0.5]])
    assert disentanglement(importance) == pytest.approx(0.75, abs=1e-8)


def test_no_importance_at_all_is_nothing():
    assert disentanglement(np.zeros((3, 2))) == pytest.approx(0)
    assert completeness(np.zeros((3, 2))) == pytest.approx(0)


def test_perfect_code_has_one(grid):
    assert dci(grid.astype(float), grid, grid.astype(float), grid, seed=0)[:4] == pytest.approx([1] * 4, abs=1e-6)


def test_code_of_noise_has_little(grid, noise):
    result = dci(noise, grid, noise[::-1], grid, seed=0)
    assert result.disentanglement < 0.1
    assert result.informativeness_test < 0.5


def test_dead_codes_have_nothing(grid):
    dead = np.zeros((len(grid), 3))
    result = dci(dead, grid, dead, grid, seed=0)
    assert result[:2] == pytest.approx([0, 0])
    assert result.informativeness_test == pytest.approx(np.mean([1 / 2, 1 / 4, 1 / 5]))


def test_order_of_codes_and_number_of_threads_change_nothing(grid, noise):
    codes = grid + 0.3 * noise
    one = dci(codes, grid, codes, grid, seed=0)
    two = dci(codes[:, [2, 0, 1]], grid, codes[:, [2, 0, 1]], grid, seed=0, workers=2)
    # not to the last digit: features are tried in another order, which settles splits that are equally good
    assert two[:2] == pytest.approx(one[:2], abs=0.005)
    assert two.importance[[1, 2, 0]] == pytest.approx(one.importance, abs=0.02)


def test_monotone_rescaling_changes_nothing(grid, noise):
    codes = grid + 0.3 * noise
    one, two = (dci(z, grid, z, grid, seed=0) for z in (codes, np.exp(codes)))
    assert two[:3] == pytest.approx(one[:3], abs=1e-6)


def test_one_factor_is_refused(grid, noise):
    with pytest.raises(DataError, match="1 factor"):
        dci(noise, grid[:, :1], noise, grid[:, :1], seed=0)
