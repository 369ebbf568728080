"""GEM (NeurIPS 2024) on Ray: relation-aware disentanglement with a multimodal LLM in the loop.

``gem_ray.load`` gives a trained model to use; nothing heavy is imported before it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from gem_ray.inference.trained import TrainedModel
    from gem_ray.storage import Storage

__all__ = ["load"]


def load(run_or_uri: str | Path | Storage, **options: Any) -> TrainedModel:
    """A trained model out of a run's folder or a storage URI, without Ray; see ``gem_ray.inference.loading.load``."""
    from gem_ray.inference.loading import load as load_model

    return load_model(run_or_uri, **options)
