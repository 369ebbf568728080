"""UDR: closed forms, and an independent computation pair by pair. There are no stored references of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from gem_ray.errors import DataError
from gem_ray.evaluation.disentanglement.udr import relative_strength, udr

MUCH = np.full(3, 1.0)


@pytest.fixture
def sources():
    return np.random.default_rng(0).normal(size=(2_000, 3))


def test_relative_strength_by_hand():
    assert relative_strength(np.eye(3)) == 1
    # columns: 1 / 1.5 and .25 / .5; rows: 1 / 1 and .25 / 1
    assert relative_strength(np.array([[1, 0], [0.5, 0.5]])) == pytest.approx(
        ((1 / 1.5 + 0.5) / 2 + (1 + 0.25) / 2) / 2
    )
    assert relative_strength(np.zeros((2, 2))) == 0


def test_the_same_codes_in_another_order_sign_and_scale_have_one(sources):
    models = [sources, -5 * sources[:, [2, 0, 1]], np.exp(sources[:, [1, 2, 0]])]
    result = udr(models, [MUCH] * 3, relation="spearman")
    assert result.scores == pytest.approx([1] * 3, abs=0.1)  # chance correlations of 2,000 points add up to .05 a row
    # a lasso weight of unit codes is shrunk from 1 to .9, chance ones to exactly 0: .9^2 / .9
    assert udr(models[:2], [MUCH] * 2).scores == pytest.approx([0.9] * 2, abs=0.01)


def test_rotated_codes_are_ranked_below_those_that_come_back(sources):
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    models = [sources, sources[:, [1, 0, 2]], -sources, sources @ turn]
    for relation in ("lasso", "spearman"):
        scores = udr(models, [MUCH] * 4, relation=relation).scores
        assert scores.argmin() == 3
        assert scores[3] < scores[:3].min() - 0.1


def test_uninformative_codes_are_left_out(sources):
    noisy = np.concatenate([sources, np.random.default_rng(2).normal(size=(2_000, 4))], axis=1)
    kl = np.array([1, 1, 1, 0.01, 0.01, 0, 0])
    alone, beside = udr([sources, -sources], [MUCH] * 2), udr([noisy, -sources], [kl, MUCH])
    assert beside.scores == pytest.approx(alone.scores)


def test_collapsed_model_has_nothing_with_anyone(sources):
    result = udr([sources, -sources, sources], [MUCH, MUCH, np.zeros(3)])
    assert result.scores[2] == 0
    assert result.pairwise[2].tolist() == [0, 0, 0]


def test_scores_equal_those_computed_pair_by_pair(sources):
    from sklearn.linear_model import Lasso
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(3)
    models = [sources @ rng.normal(size=(3, 4)) + 0.1 * rng.normal(size=(2_000, 4)) for _ in range(3)]
    kl = [np.ones(4)] * 3
    for relation in ("lasso", "spearman"):
        pairwise = np.zeros((3, 3))
        for i in range(3):
            for j in range(3):
                if i == j:
                    continue
                first, second = (StandardScaler().fit_transform(models[m]) for m in (i, j))
                matrix = np.zeros((4, 4))
                for b in range(4):
                    if relation == "lasso":
                        matrix[:, b] = np.abs(Lasso(alpha=0.1).fit(first, second[:, b]).coef_)
                    else:
                        matrix[:, b] = [abs(spearmanr(first[:, a], second[:, b]).statistic) for a in range(4)]
                rows = [max(row) ** 2 / sum(row) if sum(row) else 0 for row in matrix]
                columns = [max(column) ** 2 / sum(column) if sum(column) else 0 for column in matrix.T]
                pairwise[i, j] = (np.mean(rows) + np.mean(columns)) / 2
        result = udr(models, kl, relation=relation)
        assert result.pairwise == pytest.approx(pairwise, abs=1e-6)
        assert result.scores == pytest.approx([np.median(np.delete(pairwise[:, m], m)) for m in range(3)], abs=1e-6)


@pytest.mark.parametrize(
    ("num_models", "kl", "relation", "message"),
    [
        (1, [MUCH], "lasso", "at least two models"),
        (2, [MUCH], "lasso", "each with its KL"),
        (2, [MUCH, np.ones(2)], "lasso", "one number per code"),
        (2, [MUCH, MUCH], "pearson", "one of lasso, spearman"),
    ],
)
def test_models_that_cannot_be_compared_are_refused(sources, num_models, kl, relation, message):
    with pytest.raises(DataError, match=message):
        udr([sources] * num_models, kl, relation=relation)
