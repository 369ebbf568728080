"""What makes a comparison paired: a seed gives every method the same start and the same noise."""

from __future__ import annotations

from dataclasses import replace

import torch

from gem_ray.config import GemConfig, ObjectiveConfig, TrainConfig
from gem_ray.train.step import build_parts

CPU = torch.device("cpu")
OBJECTIVES = (
    ObjectiveConfig(graph_weight=0.0, align_weight=0.0),
    ObjectiveConfig(adversarial_weight=1.0),
    ObjectiveConfig(total_correlation="critic", latent_critic_width=8),
    ObjectiveConfig(covariance="mu"),
)


def test_methods_with_and_without_critics_begin_with_the_same_weights_and_other_seeds_with_others():
    def start(objective: ObjectiveConfig, seed: int) -> torch.Tensor:
        config = replace(GemConfig(), objective=objective, train=TrainConfig(seed=seed))
        return torch.cat([weights.reshape(-1) for weights in build_parts(config, 32, CPU).gem.parameters()])

    first = start(ObjectiveConfig(), 0)
    assert all(torch.equal(start(objective, 0), first) for objective in OBJECTIVES)
    assert not torch.equal(start(ObjectiveConfig(), 1), first)
