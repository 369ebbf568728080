"""How far a node is moved, and what is measured as it moves."""

from __future__ import annotations

import pytest
import torch

from gem_ray.config import ModelConfig
from gem_ray.evaluation.traversals import POSITIONS, move_node, node_changes, span, traverse_nodes
from gem_ray.models.gem import Gem
from gem_ray.models.traversal import traverse


def make_gem() -> Gem:
    torch.manual_seed(0)
    return Gem(ModelConfig(attributes=["a", "b", "c"], residual_dim=2), 32)


def test_a_node_moves_over_the_range_that_images_take_without_the_outermost_hundredths():
    codes = torch.linspace(-4, 6, 1001)[:, None]
    low, high = span(codes)
    torch.testing.assert_close(low, torch.tensor([-3.9]))
    torch.testing.assert_close(high, torch.tensor([5.9]))


def test_a_node_that_hardly_varies_is_still_moved_by_one_unit_to_either_side():
    low, high = span(torch.full((50, 1), 0.25))
    assert (low.item(), high.item()) == (-0.75, 1.25)


def test_a_skewed_node_is_moved_to_where_its_images_are():
    codes = torch.cat([torch.full((900, 1), -0.4), torch.full((100, 1), 3.0)])
    low, high = span(codes)
    assert low.item() == torch.tensor(-1.4)
    assert high.item() == 3.0


def test_every_node_of_every_start_is_drawn_at_every_position():
    gem, strength, mu = make_gem(), torch.rand(3, 3), torch.randn(20, 5)
    found = traverse_nodes(gem, strength, mu[:2], mu)
    assert found.through.shape == found.alone.shape == (2, 3, POSITIONS, 3, 32, 32)
    low, high = span(mu)
    expected = traverse(gem, strength, mu[:2], 1, torch.linspace(float(low[1]), float(high[1]), POSITIONS))
    torch.testing.assert_close(found.through[:, 1], expected)


@pytest.mark.parametrize("node_dim", [1, 2])
def test_a_node_moved_alone_is_as_through_the_graph_and_all_others_stay(node_dim):
    torch.manual_seed(0)
    gem = Gem(ModelConfig(attributes=["a", "b", "c"], node_dim=node_dim, residual_dim=2), 32)
    strength, mu = torch.rand(3, 3), torch.randn(4, gem.latent_dim)
    moved = move_node(gem, strength, mu, 1, torch.tensor([-1.0, 0.5, 2.0]))
    block = slice(node_dim, 2 * node_dim)
    others = [at for at in range(gem.latent_dim) if not block.start <= at < block.stop]
    with torch.no_grad():
        start = gem.relate(mu, strength)
    torch.testing.assert_close(moved.alone[..., block], moved.through[..., block])
    torch.testing.assert_close(moved.alone[..., others], start[:, None, others].expand(-1, 3, -1))
    assert not torch.allclose(moved.through[..., :node_dim], moved.alone[..., :node_dim])


def test_a_node_that_the_decoder_ignores_changes_nothing_alone_but_acts_through_the_graph():
    gem = make_gem()
    with torch.no_grad():
        gem.decoder.hidden[0].weight[:, 0] = 0.0
    strength = torch.zeros(3, 3)
    strength[0, 1] = 0.9
    mu = torch.randn(20, 5)
    changes = node_changes(gem, strength, mu, num_codes=8)
    assert changes.alone.shape == (3, 32, 32)
    assert changes.alone[0].max() == 0
    assert changes.through[0].max() > 0


def test_without_relations_moving_through_the_graph_is_moving_alone():
    gem, mu = make_gem(), torch.randn(20, 5)
    changes = node_changes(gem, torch.zeros(3, 3), mu)
    torch.testing.assert_close(changes.through, changes.alone)
