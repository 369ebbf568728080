"""Named nodes against their own attributes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from gem_ray.evaluation.factors import factors_of
from gem_ray.evaluation.node_scores import node_scores
from gem_ray.evaluation.scored_points import ScoredPoints

RNG = np.random.default_rng(0)
N, TRAIN = 600, 200
BEARD = np.where(RNG.random(N) < 0.3, 0.4 + 0.6 * RNG.random(N), 0.0)
MALE = RNG.integers(2, size=N).astype(float)
ANGLE = RNG.random(N) + 1


def points(z: np.ndarray, z_rel: np.ndarray | None = None, node_dim: int = 1) -> ScoredPoints:
    values = np.stack([MALE, BEARD, ANGLE], axis=1)
    return ScoredPoints(
        z_NL=z,
        z_rel_NL=z if z_rel is None else z_rel,
        factors=factors_of(["male", "beard", "angle"], values, most_values=40, bins=5),
        num_train=TRAIN,
        images="some",
        num_nodes=3,
        node_dim=node_dim,
    )


def test_each_node_is_scored_by_its_own_attribute_on_test_points_whatever_their_order():
    z = np.stack([BEARD, MALE, -ANGLE, BEARD], axis=1) + RNG.normal(0, 0.2, (N, 4))
    z_rel = z + RNG.normal(0, 1, z.shape)
    beard, male, angle = node_scores(points(z, z_rel), ("beard", "male", "angle"))
    test = slice(TRAIN, None)
    assert beard.auroc == pytest.approx(roc_auc_score(BEARD[test] > 0, z[test, 0]))
    assert beard.auroc_rel == pytest.approx(roc_auc_score(BEARD[test] > 0, z_rel[test, 0]))
    assert male.spearman == pytest.approx(spearmanr(MALE[test], z[test, 1]).statistic)
    assert male.spearman_rel == pytest.approx(abs(spearmanr(MALE[test], z_rel[test, 1]).statistic))
    assert beard.runner_up == pytest.approx(spearmanr(BEARD[test], z[test, 3]).statistic)
    # a node that points the other way: the size of the correlation, and the order as it is
    assert angle.spearman is not None
    assert angle.spearman > 0.7
    assert angle.order is not None
    assert angle.order < -0.5
    assert angle.auroc is None  # neither present nor absent


def test_a_node_of_an_unknown_attribute_has_no_scores():
    z = RNG.normal(size=(N, 3))
    found = node_scores(points(z), ("smile", "male", "beard"))[0]
    assert (found.name, found.auroc, found.spearman, found.order, found.runner_up) == ("smile", *[None] * 4)


def test_a_node_of_several_dimensions_stands_for_its_first():
    z = np.stack([MALE, -MALE, BEARD, BEARD * 0, ANGLE, ANGLE], axis=1)
    male, beard, angle = node_scores(points(z, node_dim=2), ("male", "beard", "angle"))
    assert (male.auroc, beard.auroc) == (1, 1)
    assert male.spearman == pytest.approx(1)
    assert angle.order == 1
    assert angle.runner_up == pytest.approx(1)  # its own second dimension is another latent


def test_nodes_of_several_dimensions_are_reduced_before_they_are_scored_and_it_is_told():
    z = np.repeat(RNG.normal(size=(N, 3)), 2, axis=1)
    split = points(np.concatenate([z, RNG.normal(size=(N, 2))], axis=1), node_dim=2).split("before")
    assert split is not None
    assert split.codes.shape == (TRAIN, 5)
    assert abs(np.corrcoef(split.codes[:, 0], z[:TRAIN, 0])[0, 1]) == pytest.approx(1)
    assert "first principal component" in points(z, node_dim=2).reduction
    assert points(z[:, ::2]).reduction == "none: every node is one number"


def test_the_split_is_of_the_codes_that_are_asked_for():
    z, z_rel = RNG.normal(size=(N, 5)), RNG.normal(size=(N, 5))
    both = points(z, z_rel)
    for name, codes in (("before", z), ("after", z_rel), ("named_before", z[:, :3]), ("named_after", z_rel[:, :3])):
        split = both.split(name)
        assert split is not None
        assert (split.codes == codes[:TRAIN]).all(), name
        assert (split.test_codes == codes[TRAIN:]).all(), name
    assert len(split.test_factors) == N - TRAIN
