"""Networks that a step uses and never changes; their weights come out of storage, not out of checkpoints."""

from __future__ import annotations

import torch

from gem_ray.config import GemConfig
from gem_ray.errors import ConfigError
from gem_ray.models.perceptual import PerceptualNetwork, restore_perceptual
from gem_ray.storage import Storage


def build_perceptual(config: GemConfig, device: torch.device) -> PerceptualNetwork | None:
    """The network of the perceptual term; None where that is off.

    Raises:
        ConfigError: there is no such file
        DataError: it holds other weights
    """
    if config.objective.perceptual_weight == 0:
        return None
    where = config.objective.perceptual_weights
    folder, _, name = where.rpartition("/")
    try:
        weights = Storage(folder or ("/" if where.startswith("/") else "."), config.storage).read_bytes(name)
    except FileNotFoundError as error:
        raise ConfigError(
            f"objective.perceptual_weights={where!r} is no file; it must hold the weights of torchvision's vgg16 as "
            "safetensors, or set objective.perceptual_weight=0"
        ) from error
    return restore_perceptual(weights, where).to(device)
