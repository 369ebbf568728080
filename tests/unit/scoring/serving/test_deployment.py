"""How the MLLM's deployment follows its queue, for every shipped size of model, and where its replicas lie."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gem_ray.config import ScoringConfig
from gem_ray.scoring.serving.deployment import DEPLOYMENT, autoscaling, build_app

SHIPPED = sorted((Path(__file__).parents[4] / "configs" / "mllm").glob("*.yaml"))


def shipped(path: Path) -> ScoringConfig:
    return ScoringConfig(**yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_model_is_served_under_the_autoscaler_with_its_own_bounds(path):
    config = shipped(path)
    deployment = build_app(config)._bound_deployment
    assert deployment.name == DEPLOYMENT
    follows = deployment._deployment_config.autoscaling_config
    assert (follows.min_replicas, follows.max_replicas) == (config.min_replicas, config.max_replicas)
    assert follows.target_ongoing_requests == config.target_ongoing_requests <= config.max_ongoing_requests
    assert follows.initial_replicas >= 1


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_rescorer_alone_has_requests_enough_under_way_to_bring_the_last_replica_up(path):
    config = shipped(path)
    # Serve wants a replica more as soon as there are more requests than the target for those that are there.
    assert config.max_in_flight > config.target_ongoing_requests * (config.max_replicas - 1)


def test_load_is_looked_at_for_as_long_as_the_delay_within_what_serve_takes():
    assert autoscaling(ScoringConfig(upscale_delay_s=1)).look_back_period_s == 10.5
    assert autoscaling(ScoringConfig(upscale_delay_s=20)).look_back_period_s == 20
    assert autoscaling(ScoringConfig(upscale_delay_s=300)).look_back_period_s == 30


def test_a_model_that_may_go_to_none_still_loads_once_so_that_a_fault_is_found_at_the_start():
    assert autoscaling(ScoringConfig(min_replicas=0, max_replicas=2)).initial_replicas == 1


def test_replicas_lie_on_nodes_of_their_role_and_without_one_anywhere():
    placed = build_app(ScoringConfig(num_cpus=2), role="mllm")._bound_deployment._replica_config.ray_actor_options
    assert (placed["label_selector"], placed["num_cpus"]) == ({"gem-ray/role": "mllm"}, 2)
    anywhere = build_app(ScoringConfig())._bound_deployment._replica_config.ray_actor_options
    assert "label_selector" not in anywhere
