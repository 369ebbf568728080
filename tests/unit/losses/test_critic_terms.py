"""What the critic's term means: the optimum of D on a discrete case, and the divergence each side descends."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from gem_ray.losses.gem import critic_term, discriminator_loss


def gaussian_noise(count: int) -> Tensor:
    """Midpoint quantiles of N(0, 1): their means are integrals, without the noise of a sample."""
    return Normal(0.0, 1.0).icdf((torch.arange(count, dtype=torch.float64) + 0.5) / count)


def test_the_best_discriminator_is_the_log_ratio_of_encoder_to_decoder():
    # Four values that each side shows 8 times in all; one free logit each.
    encoder, decoder = torch.tensor([4, 2, 1, 1]), torch.tensor([1, 2, 1, 4])
    logits = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = discriminator_loss(logits.repeat_interleave(encoder), logits.repeat_interleave(decoder))
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(logits.detach(), (encoder.double() / decoder).log(), rtol=0, atol=1e-4)


def decoder_gradient(importance_clamp: bool) -> float:
    """Gradient of the term in the decoder's mean, with data N(0, 1) and the decoder at N(0.1, 1.1)."""
    data, width = Normal(0.0, 1.0), 1.1
    mean = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    x = mean + width * gaussian_noise(20_001)
    log_ratio = data.log_prob(x) - Normal(mean.detach(), width).log_prob(x)
    (gradient,) = torch.autograd.grad(critic_term(torch.zeros(1), log_ratio, importance_clamp), mean)
    return float(gradient)


def test_the_decoder_descends_kl_p_q_without_and_kl_q_p_with_importance_weights():
    # The widths differ, so the two divergences have different gradients: m / 1 and m / 1.21.
    assert decoder_gradient(importance_clamp=False) == pytest.approx(0.1, rel=1e-3)
    assert decoder_gradient(importance_clamp=True) == pytest.approx(0.1 / 1.21, rel=0.02)


def test_the_encoder_descends_kl_q_p():
    mean = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    prior, width = Normal(torch.zeros((), dtype=torch.float64), 1.0), 1.5
    z = mean + width * gaussian_noise(20_001)
    log_ratio = Normal(mean.detach(), width).log_prob(z) - prior.log_prob(z)
    (gradient,) = torch.autograd.grad(critic_term(log_ratio, torch.zeros(1), importance_clamp=False), mean)
    (expected,) = torch.autograd.grad(kl_divergence(Normal(mean, width), prior), mean)
    assert float(gradient) == pytest.approx(float(expected), rel=1e-3)
