"""Swaps carry one node over and leave everything else."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from gem_ray.config import ModelConfig
from gem_ray.evaluation.plot_style import mosaic
from gem_ray.evaluation.swap_figures import LEFT, TOP, swaps_figure
from gem_ray.evaluation.swaps import different_pairs, swap_node, swap_nodes
from gem_ray.models.gem import Gem


def make_gem(node_dim: int = 1) -> Gem:
    torch.manual_seed(0)
    return Gem(ModelConfig(attributes=["a", "b", "c"], node_dim=node_dim, residual_dim=2), 32)


@pytest.mark.parametrize("node_dim", [1, 2])
def test_a_node_swapped_twice_gives_the_originals(node_dim):
    first, second = torch.randn(2, 4, 3 * node_dim + 2)
    once = swap_node(first, second, 1, node_dim)
    block = slice(node_dim, 2 * node_dim)
    torch.testing.assert_close(once[0][:, block], second[:, block])
    torch.testing.assert_close(once[1][:, block], first[:, block])
    assert int((once[0] != first).sum()) == 4 * node_dim
    twice = swap_node(*once, 1, node_dim)
    torch.testing.assert_close(twice[0], first, rtol=0, atol=0)
    torch.testing.assert_close(twice[1], second, rtol=0, atol=0)


def test_swapping_every_node_and_the_rest_turns_one_image_into_the_other():
    gem, strength = make_gem(), torch.rand(3, 3)
    mu = torch.randn(20, 5)
    mu[:, 3:] = 0.5
    first, second = mu[:1], mu[1:2]
    for node in range(3):
        first, second = swap_node(first, second, node, 1)
    torch.testing.assert_close(first, mu[1:2])
    torch.testing.assert_close(second, mu[:1])
    found = swap_nodes(gem, strength, mu, num_pairs=2)
    with torch.no_grad():
        one = mu[found.pairs[0, 0]].clone()
        one[2] = mu[found.pairs[0, 1], 2]
        expected = gem.images(gem.decode(gem.relate(one[None], strength)))[0]
    torch.testing.assert_close(found.swapped[0, 0, 2], expected)


def test_a_node_that_both_images_share_changes_nothing():
    gem, mu = make_gem(), torch.randn(12, 5)
    mu[:, 1] = 0.3
    found = swap_nodes(gem, torch.rand(3, 3), mu, num_pairs=3)
    assert found.swapped.shape == (3, 2, 3, 3, 32, 32)
    torch.testing.assert_close(found.swapped[:, :, 1], found.reconstructions)
    np.testing.assert_allclose(found.distance[:, 1], 0)
    assert (np.abs(found.distance[:, 0]) > 0.3).any()


def test_pairs_differ_most_and_use_no_image_twice():
    shares = np.array([[0.0, 0.0], [0.4, 0.5], [1.0, 1.0], [0.5, 0.4], [0.0, 1.0], [1.0, 0.1]])
    pairs = different_pairs(shares, 3)
    assert set(pairs[0]) == {0, 2}
    assert set(pairs[1]) == {4, 5}
    assert sorted(pairs.flatten().tolist()) == [0, 1, 2, 3, 4, 5]
    assert len(different_pairs(shares[:3], 3)) == 1


def test_fewer_images_than_pairs_give_as_many_as_there_are():
    assert swap_nodes(make_gem(), torch.zeros(3, 3), torch.randn(3, 5), num_pairs=4).pairs.shape == (1, 2)


def test_the_picture_of_swaps_holds_the_images_pixel_by_pixel():
    rng = np.random.default_rng(0)
    originals, models, swapped = (
        rng.random((1, 2, 64, 64, 3)),
        rng.random((1, 2, 64, 64, 3)),
        rng.random((1, 2, 3, 64, 64, 3)),
    )
    drawn = swaps_figure(originals, models, swapped, np.array([[0.5, -0.5, 0.0]]), ["a", "b", "c" * 40])
    shown = np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB")).astype(int)
    expected = mosaic(np.stack([originals[0, 0], models[0, 0]])[None], 2).repeat(2, 0).repeat(2, 1)
    part = shown[TOP : TOP + 128, LEFT : LEFT + expected.shape[1]]
    assert np.abs(part - np.round(255 * expected)).max() <= 1
