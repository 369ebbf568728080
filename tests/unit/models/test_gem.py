"""The whole model: the refined graph, what passes it by, and what the loss sees of it."""

from __future__ import annotations

import pytest
import torch

from gem_ray.config import ModelConfig, ObjectiveConfig
from gem_ray.losses.gem import gem_loss
from gem_ray.models.gem import Gem

SIDE = 32


def make_gem(**settings: object) -> Gem:
    """A small model with fixed random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Gem(ModelConfig(attributes=["a", "b", "c"], residual_dim=2, **settings), SIDE)


def make_strength() -> torch.Tensor:
    return torch.tensor([[0.0, 0.8, -0.3], [0.1, 0.0, 0.0], [0.0, -0.6, 0.0]])


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_refined_adjacency_starts_at_the_prior():
    torch.testing.assert_close(make_gem().refined_adjacency(make_strength()), make_strength())


def test_the_refined_adjacency_is_clamped_and_has_an_empty_diagonal():
    model = make_gem()
    with torch.no_grad():
        model.edge_offset.fill_(0.5)
        model.edge_offset[1, 0] = -3.0
    expected = torch.tensor([[0.0, 1.0, 0.2], [-1.0, 0.0, 0.5], [0.5, -0.1, 0.0]])
    torch.testing.assert_close(model.refined_adjacency(make_strength()), expected)


def test_moving_a_source_moves_its_target_and_not_the_reverse():
    model, strength = make_gem(), torch.zeros(3, 3)
    strength[0, 1] = 1.0
    z = random(1, 5)
    moves = [(model.relate(z + torch.eye(5)[i], strength) - model.relate(z, strength))[0] for i in range(5)]
    torch.testing.assert_close(moves[0], torch.tensor([1.0, 0.5, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(moves[1], torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0]))


@pytest.mark.parametrize("layers", [1, 2])
def test_residual_latents_bypass_the_graph_both_ways(layers):
    model, z = make_gem(gnn_layers=layers), random(4, 5)
    related = model.relate(z, make_strength())
    torch.testing.assert_close(related[:, 3:], z[:, 3:])
    other = z.clone()
    other[:, 3:] = 9.0
    torch.testing.assert_close(model.relate(other, make_strength())[:, :3], related[:, :3])


def test_nodes_come_first_and_one_by_one():
    model = make_gem(node_dim=2)
    z = torch.arange(8.0)[None]
    assert model.node_codes(z).tolist() == [[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]]
    assert model.latent_dim == 8


def test_one_pass_agrees_with_its_parts():
    model, strength = make_gem(), make_strength()
    x, scored, noise, prior = (
        torch.rand(2, 3, SIDE, SIDE),
        torch.rand(3, 3, SIDE, SIDE),
        random(2, 5),
        random(2, 5, seed=1),
    )
    outputs = model(x, noise, strength, scored, prior)
    mu, logvar = model.encode(x)
    scored_mu, _ = model.encode(scored)
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(outputs.mu, mu, **close)
    torch.testing.assert_close(outputs.logvar, logvar, **close)
    torch.testing.assert_close(outputs.z_rel, model.relate(mu + (logvar / 2).exp() * noise, strength), **close)
    torch.testing.assert_close(outputs.logits, model.decode(outputs.z_rel), **close)
    torch.testing.assert_close(outputs.scored_nodes, scored_mu[:, :3], **close)
    torch.testing.assert_close(outputs.scored_nodes_rel, model.relate(scored_mu, strength)[:, :3], **close)
    torch.testing.assert_close(outputs.generated_z_rel, model.relate(prior, strength), **close)
    torch.testing.assert_close(outputs.generated_logits, model.decode(outputs.generated_z_rel), **close)


def test_what_was_not_asked_for_is_none():
    outputs = make_gem()(torch.rand(1, 3, SIDE, SIDE), random(1, 5), make_strength())
    assert (
        outputs.scored_nodes is outputs.scored_nodes_rel is outputs.generated_logits is outputs.generated_z_rel is None
    )


@pytest.mark.parametrize("align_on", ["z", "z_rel"])
def test_permuting_the_edge_weights_changes_the_loss(align_on):
    model, x = make_gem(), torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    objective = ObjectiveConfig(align_on=align_on)

    def loss(strength: torch.Tensor) -> torch.Tensor:
        outputs = model(x, random(4, 5), strength, x)
        return gem_loss(outputs, x, strength, torch.ones(3, 3), random(4, 3), None, objective, step=0)

    before, after = loss(make_strength()), loss(make_strength().T)
    assert abs(float((before.total - after.total).detach())) > 1e-3
    assert bool(before.reconstruction != after.reconstruction)
    # The mean of q(z | x) is read before message passing, so only z_rel can show the graph to the align term.
    assert bool(before.align != after.align) == (align_on == "z_rel")


def test_the_pixels_and_the_graph_term_both_teach_the_edge_offset():
    model, x, strength = make_gem(), torch.rand(4, 3, SIDE, SIDE), make_strength()
    off_diagonal = ~torch.eye(3, dtype=torch.bool)

    def gradient(**weights: float) -> torch.Tensor:
        model.zero_grad()
        outputs = model(x, random(4, 5), strength)
        terms = gem_loss(outputs, x, strength, torch.ones(3, 3), None, None, ObjectiveConfig(**weights), step=0)
        terms.total.backward()
        assert model.edge_offset.grad is not None
        return model.edge_offset.grad.clone()

    pixels = gradient(graph_weight=0.0, beta=0.0)
    assert bool((pixels[off_diagonal] != 0).all())
    assert pixels.diagonal().tolist() == [0.0, 0.0, 0.0]
    with torch.no_grad():
        model.edge_offset.fill_(0.1)
    graph = gradient(graph_weight=50.0, reconstruction_weight=0.0, beta=0.0)
    # 50 * d/do o^2 = 100 o, for o = 0.1 on every edge.
    torch.testing.assert_close(graph, 10.0 * off_diagonal.float())


def test_outputs_are_fp32_under_bf16_autocast_and_the_graph_is_not_blurred():
    model, z = make_gem(), random(4, 5)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(
            torch.rand(2, 3, SIDE, SIDE), random(2, 5), make_strength(), torch.rand(2, 3, SIDE, SIDE), z[:2]
        )
        related = model.relate(z, make_strength())
    assert {tensor.dtype for tensor in outputs} == {torch.float32}
    assert related.dtype == torch.float32
    assert torch.equal(related, model.relate(z, make_strength()))


def test_images_are_the_sigmoid_of_the_logits():
    torch.testing.assert_close(Gem.images(torch.tensor([0.0, 3.0])), torch.tensor([0.5, 1 / (1 + 2.718281828**-3)]))
