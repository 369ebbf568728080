"""A code that nobody uses is told, whoever it is that does not use it."""

from __future__ import annotations

import pytest
import torch

from gem_ray.config import ModelConfig
from gem_ray.evaluation.evaluation_facts import HealthFacts
from gem_ray.evaluation.health import code_health, code_sensitivity, spread_out
from gem_ray.evaluation.reconstruction import encode_all
from gem_ray.models.gem import Gem

NAMES = ("a", "b", "c")


def wide_awake() -> Gem:
    """Random weights with a mean of every latent that varies, and a decoder that shows it."""
    torch.manual_seed(0)
    gem = Gem(ModelConfig(attributes=list(NAMES), residual_dim=2), 32)
    with torch.no_grad():
        gem.encoder.head.weight.mul_(200)
        gem.decoder.hidden[0].weight.mul_(30)
    return gem


def health_of(gem: Gem, explained: float = 0.9) -> HealthFacts:
    images = torch.rand(200, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    codes = encode_all(gem, images, torch.zeros(3, 3))
    return code_health(codes, code_sensitivity(gem, codes), gem.config.node_dim, NAMES, explained)


def test_a_code_in_use_has_nothing_to_warn_of():
    health = health_of(wide_awake())
    assert (health.ignored, health.warnings) == (False, ())
    assert health.active_units == health.latent_dim == len(health.kl_per_latent) == len(health.change_per_latent) == 5
    assert health.kl_nats == pytest.approx(sum(health.kl_per_latent))
    assert health.change_per_node == dict(zip(NAMES, health.change_per_latent))


def test_a_decoder_that_ignores_the_code_is_told_though_the_encoder_writes():
    gem = wide_awake()
    with torch.no_grad():
        gem.decoder.hidden[0].weight.zero_()
    health = health_of(gem)
    assert health.ignored
    assert health.active_units == 5
    assert "the decoder ignores the code" in health.warnings[0]
    assert health.warnings[1] == "nodes that the decoder ignores: a, b, c"


def test_an_encoder_that_ignores_the_image_is_told():
    gem = wide_awake()
    with torch.no_grad():
        gem.encoder.head.weight.zero_()
    health = health_of(gem)
    assert health.ignored
    assert "posterior collapse" in health.warnings[0]
    assert health.warnings[1] == "nodes that do not vary over images: a, b, c"


def test_one_idle_node_is_named_and_does_not_condemn_the_rest():
    gem = wide_awake()
    with torch.no_grad():
        gem.decoder.hidden[0].weight[:, 1] = 0
        gem.encoder.head.weight[2] = 0
    health = health_of(gem)
    assert not health.ignored
    assert health.warnings == ("nodes that do not vary over images: c", "nodes that the decoder ignores: b")


def test_reconstructions_like_the_mean_image_are_told_and_unknown_is_not():
    assert "explain 1.0% of the variance" in health_of(wide_awake(), explained=0.01).warnings[0]
    assert not health_of(wide_awake(), explained=float("nan")).ignored


def test_codes_are_taken_from_first_to_last():
    assert spread_out(torch.arange(10.0)[:, None], 4)[:, 0].tolist() == [0, 3, 6, 9]
    assert len(spread_out(torch.arange(3.0)[:, None], 4)) == 3
