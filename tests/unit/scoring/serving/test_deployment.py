"""How the MLLM's deployment follows its queue, for every shipped size of model, and how long who waits for it waits."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from gem_ray.config import ScoringConfig
from gem_ray.data.faces import ATTRIBUTES
from gem_ray.errors import ScorerError
from gem_ray.messages.questions import Request, ScoreAnswer
from gem_ray.scoring.asking.calibration import grey_request
from gem_ray.scoring.asking.prompts import missing
from gem_ray.scoring.asking.scripted import ScriptedScorer, answer_of_value
from gem_ray.scoring.serving import deployment
from gem_ray.scoring.serving.deployment import DEPLOYMENT, MLLM, ServeScorer, autoscaling, build_app

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


DEADLINE_S = 0.1
REQUESTS: list[Request] = [grey_request(name) for name in ATTRIBUTES]


class LateEngine(ScriptedScorer):
    """Gives up at its deadline, as the real one does, and needs a moment for that."""

    def __init__(self, seconds: float) -> None:
        super().__init__(lambda request: answer_of_value(1) if request == REQUESTS[0] else missing("deadline"))
        self._delay_s = DEADLINE_S + seconds

    def shutdown(self) -> None:
        """Nothing was started."""


def replica_of(engine: LateEngine) -> MLLM:
    return MLLM(dataclasses.asdict(ScoringConfig(deadline_s=DEADLINE_S)), lambda _: engine)


def scorer_of(replica: MLLM) -> ServeScorer:
    """A caller of a replica in this very process."""
    scorer = ServeScorer("app", DEADLINE_S)
    call = SimpleNamespace(remote=lambda requests: asyncio.ensure_future(replica.score(requests)))
    scorer._handle = SimpleNamespace(score=call)
    return scorer


def failures(answers: list[ScoreAnswer]) -> list[str | None]:
    return [answer.failure for answer in answers]


def test_what_the_engine_has_at_its_deadline_reaches_the_caller():
    answers = asyncio.run(scorer_of(replica_of(LateEngine(0.1))).score(REQUESTS))
    assert failures(answers) == [None, *["deadline"] * (len(REQUESTS) - 1)]


def test_a_replica_waits_for_its_engine_no_longer_than_its_margin(monkeypatch):
    monkeypatch.setattr(deployment, "REPLICA_MARGIN_S", 0.05)
    with pytest.raises(TimeoutError):
        asyncio.run(replica_of(LateEngine(60)).score(REQUESTS))


def test_a_caller_waits_longer_than_the_replica_and_not_for_ever(monkeypatch):
    monkeypatch.setattr(deployment, "replica_state", lambda _: "1 RUNNING")
    monkeypatch.setattr(deployment, "CALLER_MARGIN_S", 0.05)
    replica = replica_of(LateEngine(60))
    monkeypatch.setattr(deployment, "REPLICA_MARGIN_S", 0.05)
    with pytest.raises(ScorerError, match=r"deadline_s=0\.1 s and 0\.1 s more \(1 RUNNING\)"):
        asyncio.run(scorer_of(SimpleNamespace(score=replica.scorer.score)).score(REQUESTS))
