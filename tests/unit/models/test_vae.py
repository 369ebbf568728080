"""Encoder and decoder: the published sizes, every power of two, and outputs in fp32."""

from __future__ import annotations

import pytest
import torch

from gem_ray.errors import ConfigError
from gem_ray.models.vae import Decoder, Encoder, convolution_plan, reparameterize


def shapes(module: torch.nn.Module) -> list[tuple[int, ...]]:
    """Weight shapes in the order of the layers."""
    return [tuple(weight.shape) for name, weight in module.named_parameters() if name.endswith("weight")]


def num_parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_locatello_at_64_has_the_published_layers():
    encoder, decoder = Encoder("locatello", 64, 10), Decoder("locatello", 64, 10)
    assert shapes(encoder.convolutions) == [(32, 3, 4, 4), (32, 32, 4, 4), (64, 32, 2, 2), (64, 64, 2, 2)]
    assert shapes(encoder.hidden) + shapes(encoder.head) == [(256, 1024), (20, 256)]
    assert shapes(decoder.hidden) == [(256, 10), (1024, 256)]
    # Transposed convolutions hold [in, out, height, width].
    assert shapes(decoder.convolutions) == [(64, 64, 4, 4), (64, 32, 4, 4), (32, 32, 4, 4), (32, 3, 4, 4)]
    # Layer by layer, weights and biases.
    assert num_parameters(encoder) == 1_568 + 16_416 + 8_256 + 16_448 + 262_400 + 5_140
    assert num_parameters(decoder) == 2_816 + 263_168 + 65_600 + 32_800 + 16_416 + 1_539


def test_burgess_at_64_has_the_published_layers():
    encoder, decoder = Encoder("burgess", 64, 10), Decoder("burgess", 64, 10)
    assert shapes(encoder.convolutions) == [(32, 3, 4, 4), *[(32, 32, 4, 4)] * 3]
    assert shapes(encoder.hidden) + shapes(encoder.head) == [(256, 512), (256, 256), (20, 256)]
    assert shapes(decoder.hidden) == [(256, 10), (256, 256), (512, 256)]
    assert shapes(decoder.convolutions) == [*[(32, 32, 4, 4)] * 3, (32, 3, 4, 4)]
    assert num_parameters(encoder) == 1_568 + 3 * 16_416 + 131_328 + 65_792 + 5_140
    assert num_parameters(decoder) == 2_816 + 65_792 + 131_584 + 3 * 16_416 + 1_539


@pytest.mark.parametrize("network", ["locatello", "burgess"])
@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_every_power_of_two_goes_down_to_a_code_and_back(network, size):
    mu, logvar = Encoder(network, size, 7)(torch.rand(2, 3, size, size))
    assert mu.shape == logvar.shape == (2, 7)
    assert Decoder(network, size, 7)(mu).shape == (2, 3, size, size)


@pytest.mark.parametrize("size", [0, 4, 16, 63, 65, 96])
def test_a_side_that_cannot_be_halved_to_four_is_refused_by_its_value(size):
    with pytest.raises(ConfigError, match=f"image_size={size}"):
        convolution_plan("locatello", size, 1)


def test_width_multiplies_the_channels():
    narrow, wide = convolution_plan("locatello", 64, 1), convolution_plan("locatello", 64, 3)
    assert wide == [(3 * channels, kernel) for channels, kernel in narrow]
    mu, _ = Encoder("burgess", 32, 5, width=2)(torch.rand(1, 3, 32, 32))
    assert Decoder("burgess", 32, 5, width=2)(mu).shape == (1, 3, 32, 32)


def test_outputs_are_fp32_under_bf16_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        mu, logvar = Encoder("locatello", 32, 4)(torch.rand(2, 3, 32, 32))
        logits = Decoder("locatello", 32, 4)(mu)
    assert mu.dtype == logvar.dtype == logits.dtype == torch.float32


def test_log_variances_stay_where_their_exponential_is_harmless():
    encoder = Encoder("locatello", 32, 1)
    with torch.no_grad():
        encoder.head.weight.zero_()
        for bias, expected in ((500.0, 8.0), (-500.0, -12.0), (1.5, 1.5)):
            encoder.head.bias.copy_(torch.tensor([bias, bias]))
            mu, logvar = encoder(torch.rand(1, 3, 32, 32))
            assert (float(mu), float(logvar)) == (bias, expected)


def test_reparameterization_scales_the_noise_by_the_standard_deviation():
    variance = torch.tensor([[4.0, 0.25]])
    z = reparameterize(torch.tensor([[1.0, -1.0]]), variance.log(), torch.tensor([[3.0, 2.0]]))
    torch.testing.assert_close(z, torch.tensor([[7.0, 0.0]]))
