"""Examples of what follows are chosen by the graph and show what the graph does."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from gem_ray.config import ModelConfig
from gem_ray.evaluation.follow_figures import follows_figure
from gem_ray.evaluation.followers import follow_edges, strong_edges
from gem_ray.evaluation.ranking import ranked_pairs
from gem_ray.evaluation.reconstruction import decode_all
from gem_ray.evaluation.traversals import move_node, span
from gem_ray.graph.disgraph import DisGraph
from gem_ray.models.gem import Gem

NAMES = ("a", "b", "c", "d")


def make_graph(edges: dict[tuple[int, int], float], error: float = 0.02) -> DisGraph:
    strength = np.zeros((4, 4))
    for edge, value in edges.items():
        strength[edge] = value
    return DisGraph.from_strength(NAMES, strength, np.full((4, 4), error))


def make_follows(edges: dict[tuple[int, int], float]):
    torch.manual_seed(0)
    gem = Gem(ModelConfig(attributes=list(NAMES), residual_dim=2), 32)
    graph = make_graph(edges)
    strength = torch.tensor(graph.strength, dtype=torch.float32)
    mu = torch.randn(40, 6)
    with torch.no_grad():
        z_rel = gem.relate(mu, strength)
    return gem, strength, mu, z_rel, strong_edges(ranked_pairs(graph), 5)


def test_the_strongest_relation_of_each_source_is_chosen_the_strongest_first():
    graph = make_graph({(0, 1): 0.4, (0, 2): 0.3, (1, 2): -0.6, (2, 3): 0.2, (3, 2): 0.01})
    assert strong_edges(ranked_pairs(graph), 5) == [("b", "c", -0.6), ("a", "b", 0.4), ("c", "d", 0.2)]
    assert len(strong_edges(ranked_pairs(graph), 2)) == 2


def test_a_target_is_shown_at_most_twice():
    graph = make_graph({(0, 3): 0.6, (1, 3): 0.5, (2, 3): 0.4, (2, 0): 0.2})
    assert strong_edges(ranked_pairs(graph), 5) == [("a", "d", 0.6), ("b", "d", 0.5), ("c", "a", 0.2)]


def test_relations_that_may_be_noise_and_empty_graphs_choose_nothing():
    assert strong_edges(ranked_pairs(make_graph({(0, 1): 0.2}, error=0.3)), 5) == []
    assert strong_edges(ranked_pairs(DisGraph.empty(NAMES)), 5) == []


def test_nodes_shift_as_the_graph_says_and_all_others_stay():
    gem, strength, mu, z_rel, edges = make_follows({(0, 1): 0.7, (0, 2): -0.3})
    (follow,) = follow_edges(gem, strength, mu, z_rel, NAMES, edges)
    assert (follow.source, follow.target) == ("a", "b")
    assert np.isnan(follow.shifts[0])
    assert follow.shifts[1] > 0 > follow.shifts[2]
    assert follow.shifts[3] == 0
    assert follow.through.shape == follow.alone.shape == follow.before.shape == (3, 32, 32)
    assert not torch.allclose(follow.through, follow.alone)
    assert not torch.allclose(follow.before, follow.alone)


def test_the_image_is_the_one_in_which_most_follows():
    gem, strength, mu, z_rel, edges = make_follows({(0, 1): 0.7})
    (chosen,) = follow_edges(gem, strength, mu, z_rel, NAMES, edges)
    low, high = span(mu)
    start = mu.clone()
    start[:, 0] = low[0]
    moved = move_node(gem, strength, start, 0, torch.stack([low[0], high[0]]))
    sizes = (decode_all(gem, moved.through[:, 1]) - decode_all(gem, moved.alone[:, 1])).abs().mean(dim=(1, 2, 3))
    assert chosen.image == int(sizes.argmax())
    torch.testing.assert_close((chosen.through - chosen.alone).abs().mean(), sizes.max())


def test_examples_are_drawn():
    gem, strength, mu, z_rel, edges = make_follows({(0, 1): 0.7, (2, 3): -0.5})
    follows = follow_edges(gem, strength, mu, z_rel, NAMES, edges)
    two = Image.open(io.BytesIO(follows_figure(follows, NAMES))).size
    one = Image.open(io.BytesIO(follows_figure(follows[:1], NAMES))).size
    assert two[0] == one[0]
    assert two[1] > 1.5 * one[1]
