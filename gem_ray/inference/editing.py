"""Moves of nodes: what an edit and a traversal do to codes, and how far an edit moves every attribute.

Shape suffixes: B images, L latents, T positions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gem_ray.errors import ConfigError

if TYPE_CHECKING:
    from gem_ray.inference.trained import Codes, TrainedModel

STILL = 1e-6  # a deviation below it is none


@torch.no_grad()
def edited_codes(model: TrainedModel, z: Tensor, changes: Mapping[str, float], propagate: bool) -> Tensor:
    """See ``TrainedModel.edited_codes``."""
    moves = torch.zeros(model.latent_dim, device=model.device)
    for name, amount in changes.items():
        if not math.isfinite(amount):
            raise ConfigError(f"the change of {name} by {amount} is not finite")
        latent = _latent(model, name)
        moves[latent] = amount * model.reference.deviation[latent]
    return _moved(model, z.reshape(-1, model.latent_dim).to(model.device), moves, propagate).reshape(z.shape)


def effect_of(model: TrainedModel, codes: Codes, changes: Mapping[str, float], propagate: bool) -> dict[str, float]:
    """See ``TrainedModel.effect``; of images with these codes."""
    change = (edited_codes(model, codes.mu, changes, propagate) - codes.z_rel).reshape(-1, model.latent_dim).mean(0)
    unit = model.reference.deviation_rel
    return {
        name: float(change[_latent(model, name)] / unit[_latent(model, name)])
        if unit[_latent(model, name)] > STILL
        else 0.0
        for name in model.attributes
    }


@torch.no_grad()
def traversed_codes(
    model: TrainedModel, mu: Tensor, attribute: str, positions: int, propagate: bool
) -> tuple[Tensor, Tensor]:
    """(z_rel [T, L], values [T]) of ``TrainedModel.traverse``, from an image's codes [L] or [1, L]."""
    z = mu.reshape(-1, model.latent_dim)[:1]
    latent = _latent(model, attribute)
    values = torch.linspace(*model.reference.span(latent), positions, device=model.device)
    moves = torch.zeros(positions, model.latent_dim, device=model.device)
    moves[:, latent] = values - z[0, latent]
    return _moved(model, z.expand(positions, -1), moves, propagate), values


def _latent(model: TrainedModel, attribute: str) -> int:
    """The latent that stands for an attribute: the first dimension of its node."""
    return model.disgraph.index(attribute) * model.gem.config.node_dim


def _moved(model: TrainedModel, z_BL: Tensor, moves_BL: Tensor, propagate: bool) -> Tensor:
    """z_rel [B, L] of codes with nodes moved; without propagation each node's own part of its own move alone."""
    gem, strength = model.gem, model.strength
    if propagate:
        return gem.relate(z_BL + moves_BL, strength)
    start = gem.relate(z_BL, strength)
    moved, width = start.clone(), gem.config.node_dim
    for first in range(0, gem.named_dim, width):
        node = slice(first, first + width)
        own = torch.zeros_like(z_BL)
        own[:, node] = moves_BL[..., node]
        moved[:, node] += (gem.relate(z_BL + own, strength) - start)[:, node]
    return moved
