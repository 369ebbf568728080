"""TAD and AUROC: reference values, scikit-learn's, and cases by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gem_ray.errors import DataError
from gem_ray.evaluation.disentanglement.auroc import aurocs
from gem_ray.evaluation.disentanglement.tad import tad


def test_tad_equals_the_reference(metric_refs):
    arrays, expected = np.load(metric_refs / "tad.npz"), json.loads((metric_refs / "tad.json").read_text())
    result = tad(arrays["z"], arrays["y"])
    assert result.score == pytest.approx(expected["infodiffusion_TAD_raw"], abs=1e-5)
    assert np.nonzero(result.captured)[0].tolist() == expected["captured_attrs"]
    assert result.num_captured == expected["n_captured"]
    assert result.auroc == pytest.approx(arrays["auroc"], abs=1e-5)
    assert result.entropy_reduction == pytest.approx(expected["entropy_reduction"], abs=1e-5)


def test_aurocs_equal_those_of_scikit_learn_ties_and_all():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    values, labels = rng.integers(6, size=(200, 3)).astype(float), rng.integers(2, size=(200, 4))
    expected = [[roc_auc_score(a, z) for z in values.T] for a in labels.T]
    assert aurocs(values, labels) == pytest.approx(np.array(expected), abs=1e-12)


def test_auroc_by_hand():
    # of four pairs, one is in order, one tied, two not
    assert aurocs(np.array([[1.0], [2], [2], [0]]), np.array([[0], [0], [1], [1]])) == pytest.approx(1.5 / 4)


def test_auroc_of_a_label_without_two_sides_is_not_known():
    assert np.isnan(aurocs(np.arange(4.0)[:, None], np.ones((4, 1)))).all()


@pytest.fixture
def labels(grid):
    """Three independent fair labels, -1 and 1 as CelebA has them."""
    return 2 * np.stack([grid[:, 0], grid[:, 1] % 2, grid[:, 1] // 2], axis=1) - 1


def test_perfect_code_is_half_ahead_for_each_label(labels):
    result = tad(-3.0 * labels[:, [1, 2, 0]], labels)
    assert result.score == pytest.approx(1.5)
    assert result.num_captured == 3
    assert result.auroc == pytest.approx(np.array([[0.5, 0.5, 1], [1, 0.5, 0.5], [0.5, 1, 0.5]]))


def test_copies_capture_labels_but_are_not_ahead(labels):
    result = tad(np.tile(labels * 1.0, 2), labels)
    assert (result.score, result.num_captured) == (0, 3)


def test_labels_that_tell_each_other_are_not_counted(labels):
    both = np.concatenate([labels, labels[:, :1]], axis=1)
    result = tad(labels * 1.0, both)
    assert result.captured.tolist() == [False, True, True, False]
    assert result.entropy_reduction == pytest.approx([1, 0, 0, 1], abs=1e-12)


def test_noise_dead_codes_and_constant_labels_capture_nothing(labels, noise):
    labels = np.concatenate([labels, np.ones((len(labels), 1), dtype=np.int64)], axis=1)
    assert tad(noise, labels).num_captured == 0
    assert tad(np.full((len(labels), 2), 0.1), labels)[:2] == (0, 0)
    assert tad(noise, labels).auroc[3] == pytest.approx([0.5] * 3)


def test_order_and_monotone_rescaling_change_nothing(labels, noise):
    codes = labels + noise
    one, two = tad(codes, labels), tad(-np.exp(codes[:, [2, 0, 1]]), labels)
    assert two.score == pytest.approx(one.score)
    assert 0 < one.score < 1.5


def test_label_of_three_values_is_refused(grid, noise):
    with pytest.raises(DataError, match="attribute 1 has 4 values"):
        tad(noise, grid)
