"""Distances of sets of features in closed form, and of pairs of images."""

from __future__ import annotations

import pytest
import torch

from gem_ray.evaluation.perception import in_batches, patch_distance, set_distance


def normal(number: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(number, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_frechet_distance_is_the_closed_form_of_two_gaussians():
    x = normal(2_000, 4, 0)
    x = (x - x.mean(dim=0)) / x.std(dim=0)
    scale, shift = torch.tensor([1.0, 2.0, 3.0, 1.0]), torch.tensor([0.0, 0.0, 1.0, 2.0])
    # the same covariance up to the scale of each axis: tr(A + B - 2 (A B)^(1/2)), A and B not diagonal
    a, b = torch.cov(x.T), torch.cov((x * scale).T)
    root = torch.linalg.eigvals(a @ b).real.sqrt().sum()
    expected = shift.square().sum() + a.trace() + b.trace() - 2 * root
    assert set_distance(x, x * scale + shift, 0).frechet == pytest.approx(float(expected), rel=1e-4)


def test_sets_of_one_distribution_are_near_and_others_far():
    real, same, other = normal(500, 8, 0), normal(500, 8, 1), 1.5 * normal(500, 8, 2) + 0.5
    near, far = set_distance(real, same, 0), set_distance(real, other, 0)
    assert 0 < near.frechet < 0.3 < 1 < far.frechet
    assert abs(near.kernel) < 0.1 < 0.3 < far.kernel
    assert set_distance(real, real, 0).frechet == pytest.approx(0, abs=1e-6)


def test_kernel_distance_of_the_seed_is_the_same_again_and_leaves_the_random_state():
    real, other = normal(200, 8, 0), normal(200, 8, 2) + 0.2
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert set_distance(real, other, 1) == set_distance(real, other, 1)
    assert torch.equal(torch.rand(3), expected)


def test_patch_distance_is_the_mean_squared_distance_of_unit_vectors():
    images = torch.rand(300, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def layers(batch: torch.Tensor) -> list[torch.Tensor]:
        return [batch.flatten(2).transpose(1, 2), -2 * batch.flatten(2).transpose(1, 2)]

    other = images.flip(0)
    cosine = torch.nn.functional.cosine_similarity(images, other, dim=1)
    assert patch_distance(layers, images, other) == pytest.approx(float((2 - 2 * cosine).mean()), rel=1e-4)
    assert patch_distance(layers, images, images) == 0
    assert patch_distance(layers, images, 0.5 * images) == pytest.approx(0, abs=1e-9)


def test_features_in_batches_are_features_at_once():
    images = torch.rand(300, 3, 4, 4)
    assert torch.equal(in_batches(lambda batch: batch.flatten(1), images), images.flatten(1))
