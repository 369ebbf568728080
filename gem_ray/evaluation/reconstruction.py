"""Numbers about images and codes: how faithful reconstructions are, and which latents carry anything.

Pure functions of tensors and arrays. Shape suffixes: B images, C channels, H height, W width, L latents, K nodes,
J attributes, M scored images.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata
from torch import Tensor

from gem_ray.graph.relations import somers_d_of_values
from gem_ray.models.gem import Gem
from gem_ray.scoring.torchvision_compat import register

ACTIVE_VARIANCE = 0.01  # Burda et al. 2015: a latent is active where its mean varies more than this over images
BATCH = 256


class ImageQuality(NamedTuple):
    """Fidelity of reconstructions, pixels in [0, 1]."""

    mse: float
    psnr_db: float  # mean over images
    ssim: float  # 11x11 Gaussian window, sigma 1.5 (Wang et al. 2004)
    explained: float  # 1 - mse / mse of answering with the mean image: 0 is a model that ignores its input


class Codes(NamedTuple):
    """What the encoder says about images, and what message passing makes of it."""

    mu: Tensor  # [B, L]
    logvar: Tensor  # [B, L]
    z_rel: Tensor  # [B, L] of the means


class Readings(NamedTuple):
    """How far nodes tell attributes: [K, J] each, in [-1, 1]; NaN where an attribute or a node is constant.

    Spearman's correlation is what names are matched by, but ties hold it down: a perfect reading of an attribute that
    2 % of the images have reaches .24. Somers' D of the node given the attribute counts only pairs of images that
    differ in the attribute, and is 1 wherever all of them are in the right order.
    """

    spearman: NDArray[np.float64]
    order: NDArray[np.float64]


def image_quality(originals_BCHW: Tensor, reconstructions_BCHW: Tensor) -> ImageQuality:
    """MSE, PSNR, SSIM and explained variance of reconstructions, images in [0, 1]."""
    # torchmetrics imports torchvision, which may not load beside this torch; both take seconds, hence here.
    register()
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    mse = torch.mean((originals_BCHW - reconstructions_BCHW) ** 2)
    baseline = torch.mean((originals_BCHW - originals_BCHW.mean(dim=0, keepdim=True)) ** 2)
    psnr = peak_signal_noise_ratio(reconstructions_BCHW, originals_BCHW, data_range=1.0, dim=(1, 2, 3))
    ssim = structural_similarity_index_measure(reconstructions_BCHW, originals_BCHW, data_range=1.0)
    assert isinstance(ssim, Tensor)
    explained = float(1 - mse / baseline) if baseline > 0 else float("nan")
    return ImageQuality(float(mse), float(psnr), float(ssim), explained)


@torch.no_grad()
def encode_all(model: Gem, images_BCHW: Tensor, strength_KK: Tensor) -> Codes:
    """Codes of many images, in batches."""
    parts = [model.encode(batch) for batch in images_BCHW.split(BATCH)]
    mu, logvar = torch.cat([mu for mu, _ in parts]), torch.cat([logvar for _, logvar in parts])
    return Codes(mu, logvar, model.relate(mu, strength_KK))


@torch.no_grad()
def decode_all(model: Gem, z_rel_BL: Tensor) -> Tensor:
    """Images [B, 3, H, W] in [0, 1] of relation-aware codes, in batches."""
    return torch.cat([model.images(model.decode(batch)) for batch in z_rel_BL.split(BATCH)])


def active_units(mu_BL: Tensor) -> NDArray[np.bool_]:
    """[L]: whether the mean of a latent varies over images (variance above ``ACTIVE_VARIANCE``)."""
    return (mu_BL.var(dim=0, correction=0) > ACTIVE_VARIANCE).cpu().numpy()


def decoder_sensitivity(model: Gem, z_rel_BL: Tensor, low_L: Tensor, high_L: Tensor) -> NDArray[np.float64]:
    """[L]: mean absolute change of a pixel (in [0, 1]) as one entry of z_rel goes from low to high, the rest staying.

    About 0 for a latent that the decoder ignores, whatever the encoder writes into it.
    """
    change = []
    for latent in range(z_rel_BL.shape[1]):
        low, high = z_rel_BL.clone(), z_rel_BL.clone()
        low[:, latent], high[:, latent] = low_L[latent], high_L[latent]
        change.append(float((decode_all(model, high) - decode_all(model, low)).abs().mean()))
    return np.array(change)


def read_attributes(codes_MK: NDArray[np.floating], values_MJ: NDArray[np.floating]) -> Readings:
    """What codes tell of values (NaN where not known)."""
    spearman = rank_correlations(codes_MK, values_MJ)
    order = np.full_like(spearman, np.nan)
    for k, j in np.argwhere(np.isfinite(spearman)):
        known = ~np.isnan(values_MJ[:, j])
        order[k, j] = somers_d_of_values(values_MJ[known, j], codes_MK[known, k])
    return Readings(spearman, order)


def rank_correlations(codes: NDArray[np.floating], values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Spearman correlations [K, J] of codes [M, K] with values [M, J].

    Rows whose value is NaN are left out value by value; NaN where fewer than three rows remain or one side is constant.
    """
    table = np.full((codes.shape[1], values.shape[1]), np.nan)
    for j in range(values.shape[1]):
        known = ~np.isnan(values[:, j])
        if known.sum() < 3:
            continue
        value_ranks = _standard_ranks(values[known, j])
        for k in range(codes.shape[1]):
            table[k, j] = np.mean(_standard_ranks(codes[known, k]) * value_ranks)
    return table


def _standard_ranks(column: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ranks with mean 0 and variance 1, ties shared; NaN for a constant."""
    ranks = rankdata(column)
    spread = ranks.std()
    return (ranks - ranks.mean()) / spread if spread > 0 else np.full(len(column), np.nan)


def best_match(correlations_KJ: NDArray[np.floating]) -> NDArray[np.int64]:
    """For each node the attribute it should be named after: the Hungarian match on |Spearman| (method.md section 3)."""
    nodes, attributes = linear_sum_assignment(-np.nan_to_num(np.abs(correlations_KJ)))
    return attributes[np.argsort(nodes)]
