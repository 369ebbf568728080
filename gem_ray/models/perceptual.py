"""A frozen VGG-16 whose features say how alike two images look (Johnson et al. 2016, arXiv 1603.08155).

Layers and names are torchvision's (``vgg16().features``), so its ImageNet weights fit once they lie in a safetensors
file. The network is written out here, since torchvision itself does not load beside every torch.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F

from gem_ray.errors import DataError

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512))
TAPS = (3, 8, 15, 22)  # after relu1_2, relu2_2, relu3_3 and relu4_3
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours


class PerceptualNetwork(nn.Module):
    """Features of images at four depths; its parameters take no gradient."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for block in BLOCKS:
            for a, b in pairwise((channels, *block)):
                layers += [nn.Conv2d(a, b, 3, padding=1), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
            channels = block[-1]
        self.features = nn.Sequential(*layers[:-1])
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """Features [B, C', H', W'] of images in [0, 1], the shallowest first."""
        x, found = (x_BCHW - self.mean) / self.deviation, []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in TAPS:
                found.append(x)
        return found

    def distance(self, images_BCHW: Tensor, others_BCHW: Tensor) -> Tensor:
        """Mean squared difference of features, summed over the four depths; 0 for equal images."""
        both = self(torch.cat([images_BCHW, others_BCHW]))
        gaps = [F.mse_loss(*features.float().chunk(2)) for features in both]
        return torch.stack(gaps).sum()


def restore_perceptual(weights: bytes, where: str) -> PerceptualNetwork:
    """The network with the weights of a safetensors file; what the file holds beyond ``features`` is left out.

    Args:
        where: the file, for the message

    Raises:
        DataError: not a safetensors file, or the weights of another network
    """
    network = PerceptualNetwork()
    try:
        tensors = load(weights)
        network.load_state_dict({name: tensors[name] for name in network.state_dict()})
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise DataError(
            f"{where} does not hold the weights of torchvision's vgg16 as safetensors: {error}. Write them once with "
            "safetensors.torch.save_file(torchvision.models.vgg16(weights='DEFAULT').state_dict(), FILE)"
        ) from error
    return network.eval()
