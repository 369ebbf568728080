"""The terms of the objective against independent computations, and the sign of the critic against a Gaussian."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.distributions import Bernoulli, Laplace, Normal, kl_divergence

from gem_ray.config import ObjectiveConfig
from gem_ray.losses.covariance import cross_covariance
from gem_ray.losses.gem import (
    PIXEL_SCALE,
    align_term,
    critic_term,
    discriminator_loss,
    gem_loss,
    graph_term,
    kl_per_dimension,
    reconstruction_term,
)
from gem_ray.models.gem import GemOutputs


def make_outputs(seed: int = 0, num_images: int = 4, num_scored: int = 3) -> GemOutputs:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return GemOutputs(
        logits=draw(num_images, 3, 2, 2),
        mu=draw(num_images, 5),
        logvar=draw(num_images, 5),
        z=draw(num_images, 5),
        z_rel=draw(num_images, 5),
        adjacency=draw(2, 2),
        scored_nodes=draw(num_scored, 2),
        scored_nodes_rel=draw(num_scored, 2),
        generated_logits=None,
        generated_z_rel=None,
        num_named=2,
    )


def test_the_bernoulli_term_is_the_log_likelihood_summed_over_pixels_and_averaged_over_images():
    logits, x = torch.randn(4, 3, 8, 8), torch.rand(4, 3, 8, 8).round()
    expected = -Bernoulli(logits=logits).log_prob(x).sum() / 4
    torch.testing.assert_close(reconstruction_term(logits, x, "bernoulli"), expected)


def test_the_bernoulli_term_is_least_where_the_image_is_met_for_grey_pixels_too():
    x = torch.full((1, 3, 2, 2), 0.3)
    logits = torch.logit(x).requires_grad_()
    reconstruction_term(logits, x, "bernoulli").backward()
    torch.testing.assert_close(logits.grad, torch.zeros_like(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("kind", "distribution"), [("gaussian", Normal), ("l1", Laplace)])
def test_the_other_terms_are_log_likelihoods_up_to_a_constant(kind: str, distribution: Callable):
    x = torch.rand(4, 3, 8, 8)
    logits, other = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)

    def negative_log_likelihood(logits: torch.Tensor) -> torch.Tensor:
        return -distribution(torch.sigmoid(logits), PIXEL_SCALE).log_prob(x).sum() / 4

    expected = negative_log_likelihood(logits) - negative_log_likelihood(other)
    found = reconstruction_term(logits, x, kind) - reconstruction_term(other, x, kind)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-2)


def test_the_kl_term_is_that_of_torch_distributions():
    mu, logvar = torch.randn(6, 4), torch.randn(6, 4)
    expected = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0)).mean(0)
    torch.testing.assert_close(kl_per_dimension(mu, logvar), expected)


def test_a_code_that_equals_the_prior_costs_nothing():
    assert kl_per_dimension(torch.zeros(3, 2), torch.zeros(3, 2)).tolist() == [0.0, 0.0]


def test_the_graph_term_weighs_squared_distances_by_confidence():
    adjacency = torch.tensor([[0.0, 0.5], [-0.25, 0.0]])
    strength = torch.tensor([[0.0, 0.1], [0.25, 0.0]])
    confidence = torch.tensor([[0.0, 1.0], [0.5, 0.0]])
    # 1 * .4^2 + .5 * .5^2
    torch.testing.assert_close(graph_term(adjacency, strength, confidence), torch.tensor(0.16 + 0.125))


def test_an_edge_without_confidence_is_free_to_move():
    adjacency = torch.tensor([[0.0, 0.9], [-0.9, 0.0]])
    assert graph_term(adjacency, torch.zeros(2, 2), torch.zeros(2, 2)) == 0


def test_missing_answers_are_left_out_of_the_alignment():
    nodes = torch.tensor([[1.0, 7.0], [3.0, 0.0]], requires_grad=True)
    targets = torch.tensor([[0.0, torch.nan], [1.0, 0.5]])
    term = align_term(nodes, targets)
    torch.testing.assert_close(term, torch.tensor((1.0 + 4.0 + 0.25) / 3))
    term.backward()
    assert nodes.grad[0, 1] == 0
    assert torch.isfinite(nodes.grad).all()


def test_an_alignment_without_any_answer_is_zero_and_not_nan():
    nodes = torch.ones(2, 2, requires_grad=True)
    term = align_term(nodes, torch.full((2, 2), torch.nan))
    term.backward()
    assert term == 0
    assert nodes.grad.abs().max() == 0


def test_the_total_is_the_weighted_sum_of_its_terms():
    outputs, x = make_outputs(), torch.rand(4, 3, 2, 2)
    strength, confidence, targets = torch.rand(2, 2), torch.rand(2, 2), torch.randn(3, 2)
    config = ObjectiveConfig(
        reconstruction_weight=0.5, beta=3.0, kl_warmup_steps=0, graph_weight=7.0, align_weight=11.0,
        adversarial_weight=0.6, cross_covariance_weight=5.0,
    )  # fmt: skip
    terms = gem_loss(outputs, x, strength, confidence, targets, torch.tensor(0.25), config, step=10)
    torch.testing.assert_close(terms.reconstruction, 0.5 * reconstruction_term(outputs.logits, x, "bernoulli"))
    torch.testing.assert_close(terms.kl, 3.0 * kl_per_dimension(outputs.mu, outputs.logvar).sum())
    torch.testing.assert_close(terms.graph, 7.0 * graph_term(outputs.adjacency, strength, confidence))
    torch.testing.assert_close(terms.align, 11.0 * align_term(outputs.scored_nodes_rel, targets))
    torch.testing.assert_close(terms.adversarial, torch.tensor(0.15))
    apart = cross_covariance(outputs.z_rel[:, :2], outputs.mu[:, 2:])
    torch.testing.assert_close(terms.cross_covariance, 5.0 * apart)
    torch.testing.assert_close(terms.total, sum(terms[1:], torch.tensor(0.0)))


@pytest.mark.parametrize(("step", "share"), [(0, 0.1), (4, 0.5), (9, 1.0), (10_000, 1.0)])
def test_beta_rises_linearly_over_the_warm_up(step: int, share: float):
    outputs = make_outputs()
    config = ObjectiveConfig(beta=4.0, kl_warmup_steps=10)
    terms = gem_loss(outputs, torch.rand(4, 3, 2, 2), torch.zeros(2, 2), torch.zeros(2, 2), None, None, config, step)
    torch.testing.assert_close(terms.kl, share * 4.0 * kl_per_dimension(outputs.mu, outputs.logvar).sum())


@pytest.mark.parametrize(("align_on", "field"), [("z", "scored_nodes"), ("z_rel", "scored_nodes_rel")])
def test_alignment_acts_on_the_code_that_was_chosen(align_on: str, field: str):
    outputs, targets = make_outputs(), torch.randn(3, 2)
    config = ObjectiveConfig(align_on=align_on, align_weight=1.0)
    zeros = torch.zeros(2, 2)
    terms = gem_loss(outputs, torch.rand(4, 3, 2, 2), zeros, zeros, targets, None, config, 0)
    torch.testing.assert_close(terms.align, align_term(getattr(outputs, field), targets))


def test_terms_without_input_are_zero():
    outputs = make_outputs()._replace(scored_nodes=None, scored_nodes_rel=None)
    zeros = torch.zeros(2, 2)
    terms = gem_loss(outputs, torch.rand(4, 3, 2, 2), zeros, zeros, None, None, ObjectiveConfig(), 0)
    assert terms.align == terms.adversarial == 0


def test_the_discriminators_loss_is_that_of_logistic_regression_with_the_encoder_as_class_1():
    encoder, decoder = torch.randn(5), torch.randn(7)
    expected = torch.nn.functional.binary_cross_entropy_with_logits
    found = discriminator_loss(encoder, decoder)
    torch.testing.assert_close(found, expected(encoder, torch.ones(5)) + expected(decoder, torch.zeros(7)))


def test_the_critic_term_is_the_difference_of_the_means_unless_clamped():
    encoder, decoder = torch.tensor([1.0, 3.0]), torch.tensor([-2.0, 0.0, 5.0])
    torch.testing.assert_close(critic_term(encoder, decoder, False), torch.tensor(2.0 - 1.0))
    # exp(-2) -> .5, exp(0) = 1, exp(5) -> 2: mean of -1, 0 and 10 is 3.
    torch.testing.assert_close(critic_term(encoder, decoder, True), torch.tensor(2.0 - 3.0))


def test_importance_weights_carry_no_gradient():
    decoder = torch.tensor([0.3], requires_grad=True)
    critic_term(torch.zeros(1), decoder, True).backward()
    torch.testing.assert_close(decoder.grad, -torch.tensor([0.3]).exp())


# The sign of the critic: data N(2, 1), a decoder that generates N(theta, 1), and D about log q / p.

DATA_MEAN, START = 2.0, -1.0


def exact_critic(theta: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """D = log q(x) - log p(x) in closed form."""
    return lambda x: Normal(DATA_MEAN, 1.0).log_prob(x) - Normal(theta, 1.0).log_prob(x)


def train_decoder(sign: float, importance_clamp: bool, steps: int = 60) -> float:
    """The decoder's mean after gradient steps on ``sign`` * D."""
    generator = torch.Generator().manual_seed(0)
    theta = torch.tensor(START, requires_grad=True)
    for _ in range(steps):
        data = DATA_MEAN + torch.randn(256, generator=generator)
        generated = theta + torch.randn(256, generator=generator)
        critic = exact_critic(float(theta.detach()))
        (gradient,) = torch.autograd.grad(
            critic_term(sign * critic(data), sign * critic(generated), importance_clamp), theta
        )
        with torch.no_grad():
            theta -= 0.1 * gradient
    return float(theta.detach())


@pytest.mark.parametrize("importance_clamp", [False, True])
def test_with_our_sign_the_decoder_moves_onto_the_data(importance_clamp: bool):
    assert abs(train_decoder(1.0, importance_clamp) - DATA_MEAN) < 0.1


def test_with_the_printed_sign_the_decoder_is_pushed_away_from_the_data():
    assert train_decoder(-1.0, False, steps=30) < START - 10


def test_the_gradient_is_that_of_the_kl_divergence_between_the_gaussians():
    theta = torch.tensor(START, requires_grad=True)
    generated = theta + torch.randn(512)
    critic = exact_critic(START)
    (found,) = torch.autograd.grad(critic_term(torch.zeros(1), critic(generated), False), theta)
    (expected,) = torch.autograd.grad(kl_divergence(Normal(theta, 1.0), Normal(DATA_MEAN, 1.0)), theta)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_a_learned_critic_beside_the_decoder_brings_it_to_the_data_as_well():
    torch.manual_seed(0)
    critic = torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.LeakyReLU(0.2), torch.nn.Linear(32, 1))
    theta = torch.tensor(START, requires_grad=True)
    for_critic = torch.optim.Adam(critic.parameters(), lr=1e-2, betas=(0.5, 0.9))
    for_decoder = torch.optim.Adam([theta], lr=2e-2)
    path = []
    for _ in range(600):
        data, generated = DATA_MEAN + torch.randn(256, 1), theta + torch.randn(256, 1)
        for_decoder.zero_grad()
        critic_term(critic(data).squeeze(1), critic(generated).squeeze(1), False).backward()
        for_decoder.step()
        for_critic.zero_grad()
        discriminator_loss(critic(data).squeeze(1), critic(generated.detach()).squeeze(1)).backward()
        for_critic.step()
        path.append(float(theta.detach()))
    assert abs(sum(path[-200:]) / 200 - DATA_MEAN) < 0.3
