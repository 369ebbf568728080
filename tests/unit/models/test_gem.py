"""The whole model: the refined graph, what passes it by, and what the loss sees of it."""

from __future__ import annotations

import pytest
import torch

from gem_ray.config import ModelConfig, ObjectiveConfig
from gem_ray.losses.gem import gem_loss
from gem_ray.models.gem import Gem, refine
from gem_ray.models.learner import learned_offset

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
        objective = ObjectiveConfig(cross_covariance_weight=0.0, **weights)
        terms = gem_loss(outputs, x, strength, torch.ones(3, 3), None, None, objective, step=0)
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
            torch.rand(2, 3, SIDE, SIDE), random(2, 5), make_strength(), torch.rand(2, 3, SIDE, SIDE), z[:2], True
        )
        related = model.relate(z, make_strength())
    assert {tensor.dtype for tensor in outputs if isinstance(tensor, torch.Tensor)} == {torch.float32}
    assert related.dtype == torch.float32
    assert torch.equal(related, model.relate(z, make_strength()))


def test_images_are_the_sigmoid_of_the_logits():
    torch.testing.assert_close(Gem.images(torch.tensor([0.0, 3.0])), torch.tensor([0.5, 1 / (1 + 2.718281828**-3)]))


def test_without_a_graph_codes_pass_as_they_are_and_no_parameter_belongs_to_a_graph():
    model, z = make_gem(graph="none"), random(4, 5)
    assert torch.equal(model.relate(z, make_strength()), z)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"encoder", "decoder"}
    assert not model.refined_adjacency(make_strength()).any()


@pytest.mark.parametrize("graph", ["prior", "none"])
def test_encoder_and_decoder_start_alike_whatever_the_graph(graph):
    ours, theirs = make_gem(graph=graph).state_dict(), make_gem().state_dict()
    shared = [name for name in ours if name.startswith(("encoder", "decoder"))]
    assert len(shared) > 10
    assert all(torch.equal(ours[name], theirs[name]) for name in shared)


@pytest.mark.parametrize(("graph", "learner"), [("refined", "free"), ("refined", "projections"), ("prior", "free")])
def test_every_learner_starts_at_the_prior_and_relates_alike(graph, learner):
    model, z = make_gem(graph=graph, learner=learner), random(4, 5)
    torch.testing.assert_close(model.refined_adjacency(make_strength()), make_strength())
    torch.testing.assert_close(model.relate(z, make_strength()), make_gem().relate(z, make_strength()))


@pytest.mark.parametrize("graph", ["refined", "prior", "none"])
@pytest.mark.parametrize("learner", ["free", "projections"])
def test_every_parameter_gets_a_gradient_so_that_ddp_does_not_wait(graph, learner):
    model = make_gem(graph=graph, learner=learner)
    outputs = model(torch.rand(2, 3, SIDE, SIDE), random(2, 5), make_strength())
    (outputs.logits.square().sum() + outputs.logvar.sum()).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize(("graph", "learner"), [("refined", "projections"), ("prior", "free")])
def test_an_edge_offset_that_is_not_learned_tells_the_gradient_of_each_edge(graph, learner):
    model, noise, x = make_gem(graph=graph, learner=learner), random(2, 5), torch.rand(2, 3, SIDE, SIDE)
    probe = model.edge_offset
    assert all(parameter is not probe for parameter in model.trained_parameters())
    assert len(model.trained_parameters()) == sum(p.requires_grad for p in model.parameters()) - 1
    outputs = model(x, noise, make_strength())
    loss = outputs.logits.square().sum()
    (expected,) = torch.autograd.grad(loss, outputs.adjacency, retain_graph=True)
    loss.backward()
    torch.testing.assert_close(probe.grad, expected * (1 - torch.eye(3)))


def test_a_free_offset_is_trained_and_projections_give_a_directed_one():
    free = make_gem()
    assert any(parameter is free.edge_offset for parameter in free.trained_parameters())
    model = make_gem(learner="projections", learner_rank=2)
    assert model.projections is not None
    with torch.no_grad():
        model.projections.keys.copy_(random(3, 2, seed=5) * 0.1)
    offset = model.projections.queries @ model.projections.keys.T
    refined = model.refined_adjacency(torch.zeros(3, 3))
    torch.testing.assert_close(refined, offset.clamp(-1, 1) * (1 - torch.eye(3)))
    assert not torch.allclose(refined, refined.T, atol=1e-3)


@pytest.mark.parametrize("learner", ["free", "projections"])
def test_the_offset_read_from_a_state_is_the_one_the_model_adds(learner):
    model = make_gem(learner=learner)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in ("edge_offset", "projections.keys") and (learner == "free") == (name == "edge_offset"):
                parameter.copy_(random(*parameter.shape, seed=4) * 0.1)
    offset = learned_offset(model.state_dict())
    assert offset is not None
    assert offset.abs().max() > 0.01
    torch.testing.assert_close(refine(make_strength(), offset), model.refined_adjacency(make_strength()))


def test_the_prior_view_is_what_the_graph_network_makes_of_the_prior_alone():
    model, x, noise = make_gem(), torch.rand(2, 3, SIDE, SIDE), random(2, 5)
    with torch.no_grad():
        model.edge_offset.fill_(0.3)
    outputs = model(x, noise, make_strength(), with_prior_view=True)
    with torch.no_grad():
        model.edge_offset.zero_()
    assert outputs.prior_view is not None
    torch.testing.assert_close(outputs.prior_view.flatten(1), model.relate(outputs.z, make_strength())[:, :3])
    assert not torch.allclose(outputs.prior_view.flatten(1), outputs.z_rel[:, :3])
