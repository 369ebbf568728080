"""The perceptual network: torchvision's layers under torchvision's names, frozen, and a distance of features."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save
from torch.nn import functional as F

from gem_ray.errors import DataError
from gem_ray.models.perceptual import PerceptualNetwork, restore_perceptual

# torchvision's vgg16: index of each convolution in ``features``, and its channels out.
TORCHVISION = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 17: 512, 19: 512, 21: 512}


def make_weights() -> dict[str, torch.Tensor]:
    generator, channels, weights = torch.Generator().manual_seed(0), 3, {}
    for index, out in TORCHVISION.items():
        scale = (2 / (9 * channels)) ** 0.5
        weights[f"features.{index}.weight"] = torch.randn(out, channels, 3, 3, generator=generator) * scale
        weights[f"features.{index}.bias"] = torch.randn(out, generator=generator) * 0.1
        channels = out
    weights["classifier.0.weight"] = torch.zeros(4, 4)  # what a whole vgg16 holds besides
    return weights


def features_by_hand(weights: dict[str, torch.Tensor], x: torch.Tensor) -> list[torch.Tensor]:
    x = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    found = []
    for block in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21)):
        x = F.max_pool2d(x, 2) if found else x
        for index in block:
            x = F.relu(F.conv2d(x, weights[f"features.{index}.weight"], weights[f"features.{index}.bias"], padding=1))
        found.append(x)
    return found


def test_a_whole_vgg16_of_torchvision_fits_and_gives_its_features():
    weights = make_weights()
    network = restore_perceptual(save(weights), "vgg16.safetensors")
    x = torch.rand(2, 3, 32, 32)
    for found, expected in zip(network(x), features_by_hand(weights, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_distance_is_that_of_the_features_and_0_for_equal_images():
    weights = make_weights()
    network, x, y = restore_perceptual(save(weights), "f"), torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    pairs = zip(features_by_hand(weights, x), features_by_hand(weights, y), strict=True)
    expected = sum(((a - b) ** 2).mean() for a, b in pairs)
    torch.testing.assert_close(network.distance(x, y), expected, rtol=1e-4, atol=1e-4)
    assert network.distance(x, x) == 0


def test_images_get_a_gradient_and_the_network_none():
    network, x = restore_perceptual(save(make_weights()), "f"), torch.rand(1, 3, 32, 32, requires_grad=True)
    network.distance(x, torch.rand(1, 3, 32, 32)).backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert all(not parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"no safetensors", "vgg16"),
        (save({"features.0.weight": torch.zeros(64, 3, 3, 3)}), r"features\.0\.bias"),
        (save({name: torch.zeros(1) for name in PerceptualNetwork().state_dict()}), "size mismatch"),
    ],
)
def test_a_file_of_something_else_is_refused_with_the_way_to_write_it(content: bytes, cause: str):
    with pytest.raises(DataError, match=cause) as refused:
        restore_perceptual(content, "weights/odd.safetensors")
    assert "weights/odd.safetensors" in str(refused.value)
    assert "save_file" in str(refused.value)
