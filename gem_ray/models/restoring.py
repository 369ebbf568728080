"""A trained model from its configuration and its tensors."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gem_ray.config import ModelConfig
from gem_ray.errors import DataError
from gem_ray.models.gem import Gem


def restore_gem(config: ModelConfig, image_size: int, tensors: Mapping[str, Tensor], where: str) -> Gem:
    """The model in evaluation mode.

    Args:
        tensors: parameters and buffers by the names of ``Gem.state_dict``
        where: they come from, for the message

    Raises:
        DataError: the tensors do not fit the configuration
    """
    model = Gem(config, image_size).eval()
    try:
        model.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise DataError(f"the weights in {where} do not fit their own configuration: {error}") from error
    return model
