"""How alike pictures look: image by image (LPIPS and its stand-in), and set by set (Fréchet and kernel distances).

Both set distances are torchmetrics', over the features of any network. They are FID (Heusel et al. 2017) and KID
(Binkowski et al. 2018) with Inception's features only.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gem_ray.scoring.torchvision_compat import register

BATCH = 128
KERNEL_SUBSETS = 20


class SetDistance(NamedTuple):
    """How far two sets of images are apart. Neither has an upper bound; the kernel distance is unbiased, around 0."""

    frechet: float
    kernel: float


@torch.no_grad()
def in_batches(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Features [N, F] of images [N, 3, H, W]."""
    return torch.cat([network(batch) for batch in images.split(BATCH)])


@torch.no_grad()
def lpips(network: nn.Module, originals: Tensor, reconstructions: Tensor) -> float:
    """Mean LPIPS of pairs of images [N, 3, H, W] in [0, 1]."""
    pairs = zip(originals.split(BATCH), reconstructions.split(BATCH))
    return float(torch.cat([network(*pair, normalize=True).flatten() for pair in pairs]).mean())


@torch.no_grad()
def patch_distance(layers: Callable[[Tensor], list[Tensor]], originals: Tensor, reconstructions: Tensor) -> float:
    """LPIPS' form without learned weights: squared distance of unit feature vectors, mean over patches and layers.

    Args:
        layers: images [N, 3, H, W] in [0, 1] to features [N, P, F] of each layer

    Returns:
        In [0, 4]; 0 for equal images.
    """
    total = 0.0
    for pair in zip(originals.split(BATCH), reconstructions.split(BATCH)):
        unit = [[nn.functional.normalize(one, dim=-1) for one in layers(images)] for images in pair]
        gaps = [(a - b).square().sum(dim=-1).mean() for a, b in zip(*unit)]
        total += float(torch.stack(gaps).mean()) * len(pair[0])
    return total / len(originals)


def set_distance(real: Tensor, other: Tensor, seed: int) -> SetDistance:
    """Fréchet and kernel distance of features [N, F] of two sets.

    The kernel distance is the mean over random halves of both sets; a cubic polynomial kernel, as in KID.
    """
    # torchmetrics imports torchvision, which may not load beside this torch; both take seconds, hence here.
    register()
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    ready = _Ready(real.shape[1])
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message="Metric `Kernel Inception Distance`")
        torch.manual_seed(seed)
        frechet = FrechetInceptionDistance(feature=ready)
        kernel = KernelInceptionDistance(
            feature=ready, subsets=KERNEL_SUBSETS, subset_size=min(len(real), len(other)) // 2
        )
        for metric in (frechet, kernel):
            metric.update(real.double(), real=True)
            metric.update(other.double(), real=False)
        return SetDistance(float(frechet.compute()), float(kernel.compute()[0]))


class _Ready(nn.Identity):
    """Stands where torchmetrics wants a network: the features are there already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
