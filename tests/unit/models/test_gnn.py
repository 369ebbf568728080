"""Message passing against PyG's sparse convolution, by hand, and under permutations."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.nn import GraphConv

from gem_ray.models.gnn import GraphNetwork, normalize_incoming


def make_strength(num_nodes: int = 5, seed: int = 0) -> torch.Tensor:
    """A directed signed graph with some edges missing and an empty diagonal."""
    generator = torch.Generator().manual_seed(seed)
    strength = torch.rand(num_nodes, num_nodes, generator=generator) * 2 - 1
    strength[torch.rand(num_nodes, num_nodes, generator=generator) < 0.3] = 0.0
    return strength.fill_diagonal_(0.0)


def make_codes(num_nodes: int = 5, dim: int = 2) -> torch.Tensor:
    return torch.randn(3, num_nodes, dim, generator=torch.Generator().manual_seed(1))


def make_network(dim: int, layers: int, hidden: int = 8) -> GraphNetwork:
    """A network with random weights, so that no start at the identity hides a mistake."""
    network = GraphNetwork(dim, layers, hidden)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return network


def test_incoming_strengths_are_divided_by_one_plus_their_absolute_sum():
    strength = torch.tensor([[0.0, 0.5, 0.0], [0.0, 0.0, 0.25], [0.0, -1.0, 0.0]])
    expected = torch.tensor([[0.0, 0.2, 0.0], [0.0, 0.0, 0.2], [0.0, -0.4, 0.0]])
    torch.testing.assert_close(normalize_incoming(strength), expected)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_it_equals_the_sparse_graph_convolution_on_the_same_edges(layers):
    strength, codes, network = make_strength(), make_codes(), make_network(2, layers)
    edge_index = strength.nonzero().T  # row 0 the sources, row 1 the targets, as PyG has it
    reaching = [1.0 + sum(abs(float(s)) for s in strength[:, target]) for target in range(5)]
    edge_weight = torch.tensor([float(strength[i, j]) / reaching[j] for i, j in edge_index.T.tolist()])
    sizes = [2, *[8] * (layers - 1), 2]
    for image, related in zip(codes, network(codes, strength)):
        nodes = image
        for index, convolution in enumerate(network.convolutions):
            sparse = GraphConv(sizes[index], sizes[index + 1])
            sparse.load_state_dict(convolution.state_dict())
            nodes = nodes * torch.sigmoid(nodes) if index else nodes
            nodes = sparse(nodes, edge_index, edge_weight)
        torch.testing.assert_close(related, nodes, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layers", [1, 2])
def test_renaming_the_nodes_renames_the_output(layers):
    strength, codes, network = make_strength(), make_codes(), make_network(2, layers)
    order = torch.tensor([3, 0, 4, 1, 2])
    renamed = network(codes[:, order], strength[order][:, order])
    torch.testing.assert_close(renamed, network(codes, strength)[:, order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_permuting_the_edge_weights_changes_the_output(layers):
    strength, codes, network = make_strength(), make_codes(), make_network(2, layers)
    assert not torch.allclose(network(codes, strength), network(codes, strength.T), atol=1e-2)


def test_an_edge_carries_the_source_to_the_target_and_nothing_back():
    network = GraphNetwork(1, 1, 16)
    strength = torch.zeros(3, 3)
    strength[0, 2] = 0.5
    still, moved = torch.zeros(1, 3, 1), torch.tensor([[[3.0], [0.0], [0.0]]])
    torch.testing.assert_close(
        (network(moved, strength) - network(still, strength)).squeeze(), torch.tensor([3, 0, 1.0])
    )
    moved = torch.tensor([[[0.0], [0.0], [3.0]]])
    torch.testing.assert_close(
        (network(moved, strength) - network(still, strength)).squeeze(), torch.tensor([0, 0, 3.0])
    )


def test_a_new_single_round_keeps_every_nodes_own_value():
    codes = make_codes()
    torch.testing.assert_close(GraphNetwork(2, 1, 16)(codes, torch.zeros(5, 5)), codes)
    strength = make_strength()
    expected = codes + torch.einsum("bkd,kj->bjd", codes, normalize_incoming(strength))
    torch.testing.assert_close(GraphNetwork(2, 1, 16)(codes, strength), expected)


def test_a_round_that_is_not_learned_passes_messages_as_they_are():
    network = GraphNetwork(node_dim=2, layers=1, hidden=4, learned=False)
    assert [parameter.requires_grad for parameter in network.parameters()] == [False] * 3
    z, strength = torch.randn(5, 3, 2), torch.tensor([[0.0, 0.5, 0.0], [0.2, 0.0, -0.4], [0.0, 0.1, 0.0]])
    expected = z + torch.einsum("bid,ij->bjd", z, normalize_incoming(strength))
    assert torch.allclose(network(z, strength), expected, atol=1e-6)


def test_further_rounds_have_nothing_to_start_from_and_are_learned():
    network = GraphNetwork(node_dim=2, layers=2, hidden=4, learned=False)
    assert all(parameter.requires_grad for parameter in network.parameters())
