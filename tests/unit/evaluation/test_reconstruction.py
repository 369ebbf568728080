"""Metrics of images and codes against values by hand and against independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import somersd, spearmanr

from gem_ray.config import ModelConfig
from gem_ray.evaluation.reconstruction import (
    active_units,
    best_match,
    decode_all,
    decoder_sensitivity,
    encode_all,
    image_quality,
    rank_correlations,
    read_attributes,
)
from gem_ray.models.gem import Gem


def make_gem(**options: object) -> Gem:
    torch.manual_seed(0)
    settings: dict[str, object] = {"attributes": ["a", "b", "c"], "residual_dim": 2} | options
    return Gem(ModelConfig(**settings), 32)  # type: ignore[arg-type]


def random_images(number: int, side: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(number, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_a_constant_error_gives_the_psnr_worked_out_by_hand():
    originals = random_images(4) * 0.8
    quality = image_quality(originals, originals + 0.1)
    assert quality.mse == pytest.approx(0.01, rel=1e-5)
    assert quality.psnr_db == pytest.approx(20.0, rel=1e-5)


def test_psnr_is_the_mean_over_images_and_not_that_of_the_mean_error():
    originals = torch.full((2, 3, 32, 32), 0.5)
    errors = torch.tensor([0.1, 0.01])[:, None, None, None]
    assert image_quality(originals, originals + errors).psnr_db == pytest.approx((20 + 40) / 2, rel=1e-4)


def test_ssim_is_that_of_wang_et_al_with_a_gaussian_window():
    rng = np.random.default_rng(0)
    x = gaussian_filter(rng.random((32, 32)), 2.0)
    y = np.clip(x + rng.normal(0, 0.03, x.shape), 0, 1)

    def blur(picture: np.ndarray) -> np.ndarray:
        return gaussian_filter(picture, 1.5, truncate=3.5, mode="mirror")

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y, cov = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2, blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    images = (torch.tensor(p, dtype=torch.float32).expand(1, 3, 32, 32) for p in (x, y))
    assert image_quality(*images).ssim == pytest.approx(ssim.mean(), abs=1e-4)


def test_the_mean_image_explains_nothing_and_the_image_itself_everything():
    originals = random_images(8)
    answer = originals.mean(dim=0, keepdim=True).expand_as(originals)
    assert image_quality(originals, answer).explained == pytest.approx(0.0, abs=1e-6)
    assert image_quality(originals, originals).explained == 1.0


def test_images_that_do_not_differ_have_no_variance_to_explain():
    originals = torch.full((3, 3, 32, 32), 0.5)
    assert math.isnan(image_quality(originals, originals * 0.9).explained)


def test_a_unit_whose_mean_stays_put_is_not_active():
    mu = torch.stack([torch.zeros(100), torch.linspace(-1, 1, 100), torch.linspace(-0.05, 0.05, 100)], dim=1)
    assert active_units(mu).tolist() == [False, True, False]


def test_encoding_in_batches_is_encoding_at_once():
    gem, images, strength = make_gem(), random_images(300), torch.rand(3, 3)
    codes = encode_all(gem, images, strength)
    with torch.no_grad():
        mu, logvar = gem.encode(images)
        torch.testing.assert_close(codes.mu, mu)
        torch.testing.assert_close(codes.logvar, logvar)
        torch.testing.assert_close(codes.z_rel, gem.relate(mu, strength))
        torch.testing.assert_close(decode_all(gem, codes.z_rel), gem.images(gem.decode(codes.z_rel)))


def test_a_latent_that_the_decoder_ignores_has_no_sensitivity_whatever_the_encoder_writes():
    gem = make_gem()
    with torch.no_grad():
        gem.decoder.hidden[0].weight[:, 1] = 0.0
    z_rel = torch.randn(16, 5)
    change = decoder_sensitivity(gem, z_rel, torch.full((5,), -2.0), torch.full((5,), 2.0))
    assert change[1] == 0
    assert (np.delete(change, 1) > 0).all()


def test_sensitivity_is_the_change_of_the_picture_between_the_two_ends():
    gem, z_rel = make_gem(), torch.randn(4, 5)
    low, high = torch.arange(5.0) - 3, torch.arange(5.0) + 1
    at_low, at_high = z_rel.clone(), z_rel.clone()
    at_low[:, 2], at_high[:, 2] = -1.0, 3.0
    with torch.no_grad():
        difference = gem.images(gem.decode(at_high)) - gem.images(gem.decode(at_low))
    change = decoder_sensitivity(gem, z_rel, low, high)
    assert change[2] == pytest.approx(float(difference.abs().mean()), rel=1e-5)


def test_rank_correlations_are_scipys_where_answers_are_missing_and_values_tied():
    rng = np.random.default_rng(0)
    values = np.round(rng.normal(size=(80, 2)), 0)
    codes = rng.normal(size=(80, 3)) + values[:, :1]
    values[rng.random(80) < 0.2, 0] = np.nan
    table = rank_correlations(codes, values)
    known = ~np.isnan(values[:, 0])
    assert table.shape == (3, 2)
    assert table[1, 0] == pytest.approx(spearmanr(codes[known, 1], values[known, 0]).statistic)
    assert table[2, 1] == pytest.approx(spearmanr(codes[:, 2], values[:, 1]).statistic)


def test_a_constant_or_unanswered_attribute_has_no_correlation():
    codes = np.random.default_rng(0).normal(size=(10, 1))
    values = np.stack([np.ones(10), np.full(10, np.nan), np.arange(10.0)], axis=1)
    assert np.isnan(rank_correlations(codes, values)).tolist() == [[True, True, False]]
    assert np.isnan(rank_correlations(np.ones((10, 1)), values)).all()


def test_a_perfect_reading_of_a_rare_attribute_has_the_order_right_though_its_correlation_is_low():
    attribute = np.zeros(1000)
    attribute[:20] = 1
    node = np.concatenate([np.linspace(2, 3, 20), np.linspace(-1, 1, 980)])
    values = np.stack([attribute, np.full(1000, 0.5)], axis=1)
    readings = read_attributes(node[:, None], values)
    assert readings.order[0, 0] == 1.0
    assert readings.spearman[0, 0] == pytest.approx(math.sqrt(3 * 0.02 * 0.98), rel=1e-3)
    assert np.isnan([readings.order[0, 1], readings.spearman[0, 1]]).all()


def test_the_order_of_a_node_is_scipys_somers_d_given_the_attribute():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, (60, 1)).astype(float)
    codes = values + rng.normal(size=(60, 1))
    values[::7] = np.nan
    known = ~np.isnan(values[:, 0])
    expected = somersd(values[known, 0], codes[known, 0]).statistic
    assert read_attributes(codes, values).order[0, 0] == pytest.approx(expected)


def test_each_attribute_is_given_to_one_node_so_that_the_whole_fits_best():
    # Node 0 fits attribute 1 best of all, but node 1 fits nothing else: the sum decides.
    correlations = np.array([[0.8, -0.9, 0.0], [0.1, 0.85, 0.0], [0.2, 0.3, np.nan]])
    assert best_match(correlations).tolist() == [0, 1, 2]
    assert best_match(np.array([[0.1, -0.9], [0.8, 0.2]])).tolist() == [1, 0]
