"""Vector nodes reduced to one number each."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.errors import DataError
from gem_ray.evaluation.disentanglement.mig import mig
from gem_ray.evaluation.disentanglement.nodes import NodeReduction


def test_nodes_of_one_dimension_pass_through(noise):
    assert (NodeReduction.fit(noise, num_nodes=2, node_dim=1)(noise) == noise).all()


def test_a_node_along_a_line_is_reduced_to_its_place_on_it(noise):
    direction = np.array([0.6, -0.8])  # its greatest entry is negative: the line is turned round
    latents = np.concatenate([noise[:, :1] * direction + 7, noise[:, 1:2] * np.array([0, 1.0]), noise[:, 2:]], axis=1)
    reduction = NodeReduction.fit(latents, num_nodes=2, node_dim=2)
    codes = reduction(latents)
    assert codes.shape == (len(noise), 3)
    centred = noise - noise.mean(axis=0)
    assert codes[:, 0] == pytest.approx(-centred[:, 0])
    assert codes[:, 1] == pytest.approx(centred[:, 1])
    assert (codes[:, 2] == noise[:, 2]).all()  # an unnamed latent


def test_directions_are_those_of_the_points_they_were_learned_on(noise):
    train = np.concatenate([noise[:, :1], 0.1 * noise[:, 1:2]], axis=1)
    reduction = NodeReduction.fit(train, num_nodes=1, node_dim=2)
    other = reduction(np.array([[1.0, 50], [2, -50]]))
    assert other[1, 0] - other[0, 0] == pytest.approx(1, abs=5)  # along the first dimension, not the greatest of these


def test_a_rotation_within_nodes_leaves_the_score_alone(grid, noise):
    latents = np.concatenate([grid[:, 1:2], 0.1 * noise[:, :1], grid[:, 2:], 0.1 * noise[:, 1:2]], axis=1)
    turned = latents.copy()
    turned[:, :2] = latents[:, :2] @ np.linalg.qr(np.random.default_rng(0).normal(size=(2, 2)))[0]
    scores = [mig(NodeReduction.fit(z, 2, 2)(z), grid[:, 1:]).score for z in (latents, turned)]
    assert scores[0] == pytest.approx(scores[1], abs=0.01)
    assert scores[0] > 0.9


def test_dead_node_stays_dead(noise):
    latents = np.concatenate([np.full((len(noise), 2), 0.1), noise[:, :2]], axis=1)
    assert np.ptp(NodeReduction.fit(latents, 2, 2)(latents), axis=0)[0] == 0


def test_too_few_latents_are_refused(noise):
    with pytest.raises(DataError, match="3 latents are fewer than 2 nodes x 2 dimensions"):
        NodeReduction.fit(noise, 2, 2)
