"""Whether a run's code is used at all: by the encoder, by the decoder, node by node.

What users of such models meet most: a code that is trained, plotted and scored, and that the decoder never looks at.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gem_ray.evaluation.evaluation_facts import HealthFacts
from gem_ray.evaluation.reconstruction import Codes, active_units, decoder_sensitivity
from gem_ray.evaluation.traversals import span
from gem_ray.losses.gem import kl_per_dimension
from gem_ray.models.gem import Gem

SENSITIVITY_CODES = 64
LEAST_CHANGE = 0.5 / 255
"""A latent that moves a pixel by less than half a grey level on average, over its whole span, shows nothing."""
LEAST_EXPLAINED = 0.02


def code_sensitivity(model: Gem, codes: Codes) -> NDArray[np.float64]:
    """[L]: ``decoder_sensitivity`` over each latent's span, from some of the codes."""
    return decoder_sensitivity(model, spread_out(codes.z_rel), *span(codes.z_rel))


def code_health(
    codes: Codes, change: NDArray[np.float64], node_dim: int, names: tuple[str, ...], explained: float
) -> HealthFacts:
    """How the code of some images is used.

    Args:
        codes: of images the model was not trained on
        change: [L], from ``code_sensitivity``
        node_dim: latents of a node
        names: of the nodes
        explained: share of the images' variance that the reconstructions explain; NaN where they do not differ
    """
    kl = kl_per_dimension(codes.mu, codes.logvar).double().numpy()
    active = active_units(codes.mu)
    nodes = {name: float(change[k * node_dim : (k + 1) * node_dim].max()) for k, name in enumerate(names)}
    overall = []
    if not active.any():
        overall.append("the encoder ignores the image: the mean of no latent varies (posterior collapse)")
    if change.max() < LEAST_CHANGE:
        overall.append(
            "the decoder ignores the code: no latent moves a pixel by half a grey level on average over its whole span"
        )
    if explained < LEAST_EXPLAINED:
        overall.append(f"reconstructions explain {explained:.1%} of the variance: hardly more than the mean image")
    idle = [name for k, name in enumerate(names) if not active[k * node_dim : (k + 1) * node_dim].any()]
    unseen = [name for name, value in nodes.items() if value < LEAST_CHANGE and name not in idle]
    some = [f"nodes that do not vary over images: {', '.join(idle)}"] if idle else []
    some += [f"nodes that the decoder ignores: {', '.join(unseen)}"] if unseen else []
    return HealthFacts(
        latent_dim=len(kl),
        active_units=int(active.sum()),
        kl_nats=float(kl.sum()),
        kl_per_latent=tuple(kl.tolist()),
        change_per_latent=tuple(change.tolist()),
        change_per_node=nodes,
        ignored=bool(overall),
        warnings=(*overall, *some),
    )


def spread_out(codes: Tensor, number: int = SENSITIVITY_CODES) -> Tensor:
    """Some of the codes [N, L], evenly from the first to the last."""
    return codes[torch.from_numpy(np.linspace(0, len(codes) - 1, min(number, len(codes))).astype(np.int64))]
