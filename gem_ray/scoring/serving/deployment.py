"""The MLLM as a Ray Serve deployment.

The class is plain and decorated at build time. One call carries a batch of questions; every call has a deadline, and
queues are bounded. There is no HTTP route: only handles reach the model, see ``serve_scorer.ServeScorer``.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ray import serve
from ray.serve.config import AutoscalingConfig

from gem_ray.config import ScoringConfig
from gem_ray.messages.questions import Request, ScoreAnswer, StripAnswer, StripRequest
from gem_ray.placement import label_selector
from gem_ray.scoring.asking.vllm_scorer import VLLMScorer

DEPLOYMENT = "mllm"
# The engine ends at scoring.deadline_s, with what it has. What waits for it waits longer, or that would never arrive.
REPLICA_MARGIN_S = 5.0  # until the engine has let go of what is late
HEALTH_PERIOD_S = 10.0
# Three checks in a row have to fail, so a hung engine is found within 100 s where it is idle. A busy one is well for
# scoring.deadline_s after it last finished a question: found 35 s later, or 100 s where it is idle by then.
HEALTH_DEADLINE_S = 30.0
CONSTRUCTOR_TRIES = 1  # of the first start: what kept a model from loading meets a second try too, a minute later
LONGEST_DRAIN_S = 30.0  # a replica on its way out finishes what it was asked
SHORTEST_LOOK_BACK_S, LONGEST_LOOK_BACK_S = 10.5, 30.0  # Serve wants more than its interval of 10 s


class ServedScorer(Protocol):
    """What a replica is made of; ``vllm_scorer.VLLMScorer`` is one."""

    async def score(self, requests: Sequence[Request]) -> list[ScoreAnswer]:
        """See ``scorer.Scorer``."""
        ...

    async def describe(self, strips: Sequence[StripRequest]) -> list[StripAnswer]:
        """One description of each strip, in order."""
        ...

    async def check_health(self) -> None:
        """Raise ``ScorerError`` where questions are not answered any more."""
        ...

    def shutdown(self) -> None:
        """End whatever was started."""
        ...


def vllm_scorer(config: ScoringConfig) -> VLLMScorer:
    """The engine of a configuration; Ray has set which GPUs this process sees."""
    return VLLMScorer(
        config.model,
        min_digit_mass=config.min_digit_mass,
        deadline_s=config.deadline_s,
        use_gpu=config.num_gpus > 0,
        num_threads=max(1, int(config.num_cpus)),
        tensor_parallel=config.tensor_parallel,
        max_model_len=config.max_model_len,
    )


class MLLM:
    """One replica: one engine.

    Args:
        config: fields of ``ScoringConfig`` by name
        build_scorer: makes the engine
        role: of the nodes that the replicas of this version lie on, see ``PlacementConfig``
    """

    def __init__(
        self, config: dict[str, Any], build_scorer: Callable[[ScoringConfig], ServedScorer], role: str = ""
    ) -> None:
        self.settings, self._role = ScoringConfig(**config), role
        self.scorer = build_scorer(self.settings)

    async def score(self, requests: list[Request]) -> list[ScoreAnswer]:
        """One answer for each request, in order."""
        async with asyncio.timeout(self.settings.deadline_s + REPLICA_MARGIN_S):
            return await self.scorer.score(requests)

    async def describe(self, strips: list[StripRequest]) -> list[StripAnswer]:
        """One description of each strip, in order."""
        async with asyncio.timeout(self.settings.deadline_s + REPLICA_MARGIN_S):
            return await self.scorer.describe(strips)

    async def configuration(self) -> dict[str, Any]:
        """Fields of the ``ScoringConfig`` this replica was made from: what a change of model goes back to."""
        return dataclasses.asdict(self.settings)

    async def role(self) -> str:
        """Role of the nodes it was asked to lie on; empty for any."""
        return self._role

    async def check_health(self) -> None:
        """Called by Serve, which replaces the replica when this raises: questions must be answered."""
        async with asyncio.timeout(HEALTH_DEADLINE_S):
            await self.scorer.check_health()

    def __del__(self) -> None:
        # Serve calls this when it stops a replica; without it the engine's process would outlive it for a while.
        scorer = getattr(self, "scorer", None)
        if scorer is not None:
            scorer.shutdown()


def build_app(
    config: ScoringConfig,
    build_scorer: Callable[[ScoringConfig], ServedScorer] = vllm_scorer,
    surge: bool = True,
    role: str = "",
) -> serve.Application:
    """The Serve application of a configuration; with ``surge`` a new version is loaded before the old one is let go.

    Its replicas lie on nodes of ``role``.

    A model over several GPUs is one actor that reserves them all, with vLLM's worker processes below it: they lie on
    one node, which is where tensor parallelism is worth anything.
    """
    resources = {"num_cpus": config.num_cpus, "num_gpus": config.num_gpus}
    decorate = serve.deployment(
        name=DEPLOYMENT,
        autoscaling_config=autoscaling(config),
        max_ongoing_requests=config.max_ongoing_requests,
        max_queued_requests=config.max_queued_requests,
        max_constructor_retry_count=CONSTRUCTOR_TRIES,
        health_check_period_s=HEALTH_PERIOD_S,
        health_check_timeout_s=HEALTH_DEADLINE_S,
        graceful_shutdown_timeout_s=min(config.deadline_s, LONGEST_DRAIN_S),
        max_surge_percent=100 if surge else 0,
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
        ray_actor_options=resources | ({"label_selector": label_selector(role)} if role else {}),
    )
    return decorate(MLLM).bind(dataclasses.asdict(config), build_scorer, role)


def autoscaling(config: ScoringConfig) -> AutoscalingConfig:
    """How Serve follows the load: by the requests under way and waiting, averaged over about the upscale delay."""
    return AutoscalingConfig(
        min_replicas=config.min_replicas,
        # Also where none has to stay: a model that cannot be loaded is found out now, not by the first caller.
        initial_replicas=max(1, config.min_replicas),
        max_replicas=config.max_replicas,
        target_ongoing_requests=config.target_ongoing_requests,
        upscale_delay_s=config.upscale_delay_s,
        downscale_delay_s=config.downscale_delay_s,
        look_back_period_s=min(max(config.upscale_delay_s, SHORTEST_LOOK_BACK_S), LONGEST_LOOK_BACK_S),
    )


def replica_states(app: str) -> dict[Any, int]:
    """How many replicas an application has in which state; asks Serve's controller, so it may block."""
    application = serve.status().applications.get(app)
    deployment = application.deployments.get(DEPLOYMENT) if application else None
    return dict(deployment.replica_states) if deployment else {}


def replica_state(app: str) -> str:
    """The same in words."""
    states = replica_states(app).items()
    return ", ".join(f"{count} {getattr(state, 'value', state)}" for state, count in states) or "no replica yet"
