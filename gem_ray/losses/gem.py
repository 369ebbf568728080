"""The terms of the GEM objective: tensors in, named terms out (method.md section 2).

Signs: D estimates log q(x, z) / p(x, z). The printed ratio of the paper is inverted; with it decoder samples
are pushed away from the data (see the Gaussian test).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from gem_ray.config import ObjectiveConfig
from gem_ray.losses.contrastive import node_contrast
from gem_ray.losses.covariance import cross_covariance, dip_term
from gem_ray.losses.total_correlation import critic_total_correlation, decompose_kl
from gem_ray.models.gem import GemOutputs

PIXEL_SCALE = 0.1  # standard deviation (gaussian) or scale (l1) of a pixel, for pixels in [0, 1]


class LossTerms(NamedTuple):
    """Weighted terms and their sum; each a scalar tensor."""

    total: Tensor
    reconstruction: Tensor
    kl: Tensor
    graph: Tensor
    align: Tensor
    adversarial: Tensor
    total_correlation: Tensor
    covariance: Tensor
    contrastive: Tensor
    perceptual: Tensor
    cross_covariance: Tensor


def gem_loss(
    outputs: GemOutputs,
    x_BCHW: Tensor,
    anchor_KK: Tensor,
    confidence_KK: Tensor,
    targets_MK: Tensor | None,
    critic_terms: Tensor | None,
    config: ObjectiveConfig,
    step: int,
    num_images: int = 0,
    latent_logits_B: Tensor | None = None,
    perceptual_distance: Tensor | None = None,
) -> LossTerms:
    """L_G of method.md section 2 and the terms of the baselines, per image.

    Args:
        anchor_KK: what the refined adjacency is pulled to: the DisGraph's strength, or an average of its own past
        confidence_KK: of the DisGraph
        targets_MK: standardised MLLM scores of the scored images, NaN where an answer is missing; None before any scan
        critic_terms: L_enc + L_dec, None without the adversarial term
        step: position in the KL warm-up, or in the rise of the capacity
        num_images: N of the data set, needed for the minibatch estimates of the total correlation
        latent_logits_B: of the latent critic on z, None without one
        perceptual_distance: of images and reconstructions, None without a network for it
    """
    zero = outputs.logits.new_zeros(())
    reconstruction = config.reconstruction_weight * reconstruction_term(outputs.logits, x_BCHW, config.reconstruction)
    kl = kl_term(kl_per_dimension(outputs.mu, outputs.logvar).sum(), config, step)
    graph = config.graph_weight * graph_term(outputs.adjacency, anchor_KK, confidence_KK)
    align = zero
    nodes_MK = outputs.scored_nodes if config.align_on == "z" else outputs.scored_nodes_rel
    if targets_MK is not None and nodes_MK is not None:
        align = config.align_weight * align_term(nodes_MK, targets_MK)
    adversarial = zero if critic_terms is None else config.adversarial_weight * critic_terms
    correlation = zero
    if config.total_correlation != "none":
        correlation = config.total_correlation_weight * total_correlation_term(
            outputs, config.total_correlation, num_images, latent_logits_B
        )
    covariance = zero
    if config.covariance != "none":
        second_kind = config.covariance == "z"
        weights = config.covariance_off_diagonal, config.covariance_diagonal
        covariance = dip_term(outputs.mu.float(), outputs.logvar.float(), second_kind, *weights)
    contrastive = zero
    if outputs.prior_view is not None:
        refined_view = outputs.z_rel[:, : outputs.prior_view[0].numel()].view_as(outputs.prior_view)
        contrastive = config.contrastive_weight * node_contrast(outputs.prior_view, refined_view)
    perceptual = zero if perceptual_distance is None else config.perceptual_weight * perceptual_distance
    apart = zero
    if config.cross_covariance_weight:
        named, residual = outputs.z_rel[:, : outputs.num_named], outputs.mu[:, outputs.num_named :]
        apart = config.cross_covariance_weight * cross_covariance(named.float(), residual.float())
    parts = (reconstruction, kl, graph, align, adversarial, correlation, covariance, contrastive, perceptual, apart)
    return LossTerms(torch.stack(parts).sum(), *parts)


def kl_term(kl: Tensor, config: ObjectiveConfig, step: int) -> Tensor:
    """beta KL with beta rising from 0, or gamma |KL - C| with C rising from 0 (Burgess et al. 2018, eq. 8)."""
    if config.kl == "capacity":
        capacity = config.capacity_nats * min(1.0, (step + 1) / config.capacity_steps)
        return config.capacity_weight * (kl - capacity).abs()
    return config.beta * min(1.0, (step + 1) / max(1, config.kl_warmup_steps)) * kl


def total_correlation_term(outputs: GemOutputs, kind: str, num_images: int, latent_logits_B: Tensor | None) -> Tensor:
    """TC(z) in nats, by the latent critic or from the minibatch.

    Raises:
        ValueError: the critic's logits, or the size of the data, are needed and not given
    """
    if kind == "critic":
        if latent_logits_B is None:
            raise ValueError("objective.total_correlation=critic needs the logits of the latent critic")
        return critic_total_correlation(latent_logits_B)
    if num_images < len(outputs.z):
        raise ValueError(f"a minibatch estimate needs the size of the data set, at least {len(outputs.z)} images")
    codes = outputs.z.float(), outputs.mu.float(), outputs.logvar.float()
    return decompose_kl(*codes, num_images, stratified=kind == "stratified").total_correlation


def reconstruction_term(logits_BCHW: Tensor, x_BCHW: Tensor, kind: str) -> Tensor:
    """-log p(x | z), summed over pixels, mean over the batch, up to the distribution's constant."""
    if kind == "bernoulli":
        nats = F.binary_cross_entropy_with_logits(logits_BCHW, x_BCHW, reduction="sum")
    elif kind == "gaussian":
        nats = F.mse_loss(torch.sigmoid(logits_BCHW), x_BCHW, reduction="sum") / (2 * PIXEL_SCALE**2)
    else:
        nats = F.l1_loss(torch.sigmoid(logits_BCHW), x_BCHW, reduction="sum") / PIXEL_SCALE
    return nats / x_BCHW.shape[0]


def kl_per_dimension(mu_BL: Tensor, logvar_BL: Tensor) -> Tensor:
    """KL(q(z_l | x) || N(0, 1)) [L] in nats, mean over the batch (Kingma and Welling 2014, appendix B)."""
    return 0.5 * (mu_BL.square() + logvar_BL.exp() - logvar_BL - 1.0).mean(dim=0)


def graph_term(adjacency_KK: Tensor, anchor_KK: Tensor, confidence_KK: Tensor) -> Tensor:
    """R(A, S): squared distance of the refined adjacency to its anchor, weighted by confidence, summed over edges."""
    return (confidence_KK * (adjacency_KK - anchor_KK).square()).sum()


def align_term(nodes_MK: Tensor, targets_MK: Tensor) -> Tensor:
    """Mean squared distance of the nodes to their standardised scores; missing answers are left out."""
    known = ~torch.isnan(targets_MK)
    squares = (nodes_MK - torch.nan_to_num(targets_MK)).square()
    return (squares * known).sum() / known.sum().clamp(min=1)


def discriminator_loss(encoder_logits_B: Tensor, decoder_logits_B: Tensor) -> Tensor:
    """L_D = E_enc softplus(-D) + E_dec softplus(D); its optimum is D = log q / p."""
    return F.softplus(-encoder_logits_B).mean() + F.softplus(decoder_logits_B).mean()


def critic_term(encoder_logits_B: Tensor, decoder_logits_B: Tensor, importance_clamp: bool) -> Tensor:
    """L_enc + L_dec = E_enc D - E_dec [w D]; with D held fixed at its optimum its gradient descends a KL divergence.

    For the encoder that is KL(q || p). For the decoder it is KL(p || q) with w = 1, and KL(q || p) with
    w = exp(D), which the clamp approximates where q and p are near.

    Args:
        importance_clamp: w = clamp(exp(D), 0.5, 2) without gradient, as DEAR does, instead of 1
    """
    weight = torch.ones_like(decoder_logits_B)
    if importance_clamp:
        weight = decoder_logits_B.detach().exp().clamp(0.5, 2.0)
    return encoder_logits_B.mean() - (weight * decoder_logits_B).mean()
