"""DIP-VAE's term against torch's covariance and a hand-made case."""

from __future__ import annotations

import pytest
import torch

from gem_ray.losses.covariance import cross_covariance, dip_term


def codes(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mu, logvar = (torch.randn(50, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    return mu, logvar - 1.0


@pytest.mark.parametrize("second_kind", [False, True])
def test_it_is_the_weighted_distance_of_the_covariance_to_the_identity(second_kind: bool) -> None:
    mu, logvar = codes(0)
    covariance = torch.cov(mu.T, correction=0)
    if second_kind:
        covariance = covariance + torch.diag(logvar.exp().mean(0))
    gap = covariance - torch.eye(4)
    diagonal = torch.eye(4, dtype=torch.bool)
    expected = 3.0 * (gap[~diagonal] ** 2).sum() + 7.0 * (gap[diagonal] ** 2).sum()
    torch.testing.assert_close(dip_term(mu, logvar, second_kind, 3.0, 7.0), expected)


def test_white_codes_cost_nothing_of_the_first_kind() -> None:
    mu, logvar = codes(1)
    mu = mu - mu.mean(0)
    white = mu @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(mu.T, correction=0))).T
    assert float(dip_term(white, logvar, False, 10.0, 10.0)) == pytest.approx(0.0, abs=1e-18)


def test_only_the_second_kind_sees_the_variance_of_the_posterior() -> None:
    mu, logvar = codes(2)
    first = [float(dip_term(mu, variance, False, 1.0, 1.0)) for variance in (logvar, logvar + 1)]
    second = [float(dip_term(mu, variance, True, 1.0, 1.0)) for variance in (logvar, logvar + 1)]
    assert first[0] == first[1]
    assert second[0] != second[1]


def test_cross_covariance_is_half_the_squared_off_diagonal_block() -> None:
    mu, _ = codes(3)
    block = torch.cov(mu.T, correction=0)[:3, 3:]
    torch.testing.assert_close(cross_covariance(mu[:, :3], mu[:, 3:]), 0.5 * block.square().sum())


def test_cross_covariance_is_nothing_for_parts_that_do_not_tell_of_each_other_or_are_not_there() -> None:
    mu, _ = codes(4)
    nodes = mu[:, :2] - mu[:, :2].mean(0)
    beside = mu[:, 2:] - nodes @ torch.linalg.lstsq(nodes, mu[:, 2:] - mu[:, 2:].mean(0)).solution
    assert float(cross_covariance(nodes, beside)) == pytest.approx(0.0, abs=1e-18)
    assert float(cross_covariance(mu, mu[:, :0])) == 0.0
