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


def gem_loss(
    outputs: GemOutputs,
    x_BCHW: Tensor,
    strength_KK: Tensor,
    confidence_KK: Tensor,
    targets_MK: Tensor | None,
    critic_terms: Tensor | None,
    config: ObjectiveConfig,
    step: int,
) -> LossTerms:
    """L_G of method.md section 2, per image.

    Args:
        strength_KK, confidence_KK: the DisGraph
        targets_MK: standardised MLLM scores of the scored images, NaN where an answer is missing; None before any scan
        critic_terms: L_enc + L_dec, None without the adversarial term
        step: position in the KL warm-up
    """
    zero = outputs.logits.new_zeros(())
    beta = config.beta * min(1.0, (step + 1) / max(1, config.kl_warmup_steps))
    reconstruction = config.reconstruction_weight * reconstruction_term(outputs.logits, x_BCHW, config.reconstruction)
    kl = beta * kl_per_dimension(outputs.mu, outputs.logvar).sum()
    graph = config.graph_weight * graph_term(outputs.adjacency, strength_KK, confidence_KK)
    align = zero
    nodes_MK = outputs.scored_nodes if config.align_on == "z" else outputs.scored_nodes_rel
    if targets_MK is not None and nodes_MK is not None:
        align = config.align_weight * align_term(nodes_MK, targets_MK)
    adversarial = zero if critic_terms is None else config.adversarial_weight * critic_terms
    total = reconstruction + kl + graph + align + adversarial
    return LossTerms(total, reconstruction, kl, graph, align, adversarial)


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


def graph_term(adjacency_KK: Tensor, strength_KK: Tensor, confidence_KK: Tensor) -> Tensor:
    """R(A, S): squared distance of the refined adjacency to the prior, weighted by confidence, summed over edges."""
    return (confidence_KK * (adjacency_KK - strength_KK).square()).sum()


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
