"""Total correlation against brute force on a tiny data set, a closed form, and identities."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from gem_ray.losses.total_correlation import (
    critic_loss,
    critic_total_correlation,
    decompose_kl,
    permute_dimensions,
    stratified_log_weights,
    weighted_log_weights,
)


def posteriors(num_images: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mu = torch.randn(num_images, 3, generator=generator, dtype=torch.float64)
    mu[:, 1] += mu[:, 0]  # two latents that hang together
    return mu, torch.randn(num_images, 3, generator=generator, dtype=torch.float64) - 1.0


def exact_log_densities(z, mu, logvar):
    """log q(z) and log prod_k q(z_k) of the whole data set by torch's own mixtures."""
    uniform = Categorical(torch.ones(len(mu), dtype=torch.float64))
    joint = MixtureSameFamily(uniform, Independent(Normal(mu, (0.5 * logvar).exp()), 1)).log_prob(z)
    marginals = sum(
        MixtureSameFamily(uniform, Normal(mu[:, k], (0.5 * logvar[:, k]).exp())).log_prob(z[:, k]) for k in range(3)
    )
    return joint, marginals


def draw(mu, logvar, seed):
    return mu + (0.5 * logvar).exp() * torch.randn(
        mu.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


@pytest.mark.parametrize("stratified", [False, True])
def test_the_three_parts_add_up_to_the_kl_of_the_samples(stratified):
    mu, logvar = posteriors(16)
    z = draw(mu, logvar, 1)
    parts = decompose_kl(z, mu, logvar, 1_000, stratified)
    q, p = Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)
    torch.testing.assert_close(sum(parts), (q.log_prob(z) - p.log_prob(z)).sum(-1).mean())


def test_over_the_whole_data_the_stratified_estimate_is_exact():
    mu, logvar = posteriors(12)
    z = draw(mu, logvar, 2)
    joint, marginals = exact_log_densities(z, mu, logvar)
    found = decompose_kl(z, mu, logvar, len(mu), stratified=True).total_correlation
    torch.testing.assert_close(found, (joint - marginals).mean())


def test_stratified_weights_make_every_density_right_on_average():
    """Over all minibatches of 3 out of 5 that hold image 0, the mean of the estimate of q(z_0) is q(z_0)."""
    mu, logvar = posteriors(5)
    z = draw(mu, logvar, 3)
    estimates = []
    for others in itertools.permutations(range(1, 5), 2):
        rows = [0, *others]
        weights = stratified_log_weights(3, 5).exp()[0]
        density = Independent(Normal(mu[rows], (0.5 * logvar[rows]).exp()), 1).log_prob(z[0]).exp()
        estimates.append(float((weights * density).sum()))
    exact = float(exact_log_densities(z[:1], mu, logvar)[0].exp())
    assert np.mean(estimates) == pytest.approx(exact, rel=1e-9)


def test_the_weights_that_are_often_copied_would_not_be():
    batch, num_images = 4, 100
    faulty = torch.full((batch, batch), 1.0 / (batch - 1))
    faulty.view(-1)[::batch] = 1.0 / num_images  # the stride that fills a column
    own = stratified_log_weights(batch, num_images).exp()
    assert own.diagonal().tolist() == pytest.approx([1 / num_images] * batch)
    assert faulty.diagonal().tolist()[1:] != pytest.approx([1 / num_images] * (batch - 1))
    assert own.sum(1).tolist() == pytest.approx([1.0] * batch)


def test_weighted_weights_are_equal():
    assert weighted_log_weights(4, 50).exp().unique().tolist() == pytest.approx([1 / 200])


def test_a_known_gaussian_has_its_total_correlation_in_closed_form():
    """Posteriors that make q(z) a correlated Gaussian: TC = -1/2 log(1 - rho^2)."""
    rho, n, noise = 0.8, 2_000, 0.05
    generator = torch.Generator().manual_seed(4)
    covariance = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)
    root = torch.linalg.cholesky(covariance - noise * torch.eye(2, dtype=torch.float64))
    mu = torch.randn(n, 2, generator=generator, dtype=torch.float64) @ root.T
    logvar = torch.full((n, 2), float(np.log(noise)), dtype=torch.float64)
    z = mu + noise**0.5 * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    found = float(decompose_kl(z, mu, logvar, n, stratified=True).total_correlation)
    assert found == pytest.approx(-0.5 * np.log(1 - rho**2), abs=0.06)


def test_permuted_codes_keep_every_marginal_and_lose_what_ties_them():
    generator = torch.Generator().manual_seed(5)
    z = torch.randn(4_000, 1, generator=generator).repeat(1, 2)
    order = torch.stack([torch.randperm(4_000, generator=generator) for _ in range(2)], 1)
    shuffled = permute_dimensions(z, order)
    for k in range(2):
        torch.testing.assert_close(shuffled[:, k].sort().values, z[:, k].sort().values)
    assert abs(float(torch.corrcoef(shuffled.T)[0, 1])) < 0.05


def test_the_best_critic_gives_the_total_correlation():
    """Two binary latents with P(equal) = .9: D = log q(z)/prod q(z_k), whose mean is the mutual information."""
    counts = torch.tensor([9, 1, 1, 9])
    logits = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = critic_loss(logits.repeat_interleave(counts), logits.repeat_interleave(torch.tensor([5, 5, 5, 5])))
        loss.backward()
        return loss

    optimizer.step(closure)
    found = critic_total_correlation(logits.repeat_interleave(counts))
    assert float(found.detach()) == pytest.approx(np.log(2) + 0.9 * np.log(0.9) + 0.1 * np.log(0.1), abs=1e-4)
