"""The MLLM as a Ray Serve deployment, and the scorer that calls it through a handle.

The class is plain and decorated at build time. One call carries a batch of questions; every call has a deadline, since
Serve handles have none, and queues are bounded on both sides. There is no HTTP route: only handles reach the model.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Sequence

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException

from gem_ray.config import ScoringConfig
from gem_ray.errors import ScorerError
from gem_ray.messages import ScoreAnswer, ScoreRequest
from gem_ray.scoring.engine import VLLMScorer

log = logging.getLogger(__name__)
DEPLOYMENT = "mllm"
HEALTH_PERIOD_S = 10.0
HEALTH_DEADLINE_S = 30.0
CONSTRUCTOR_TRIES = 1  # of the first start: what kept a model from loading meets a second try too, a minute later
NO_CAPACITY_S = 1.0


class MLLM:
    """One replica: one engine.

    Args:
        config: fields of ``ScoringConfig`` by name
    """

    def __init__(self, config: dict[str, object]) -> None:
        settings = ScoringConfig(**config)  # type: ignore[arg-type]
        self.deadline_s = settings.deadline_s
        self.scorer = VLLMScorer(
            settings.model,
            min_digit_mass=settings.min_digit_mass,
            deadline_s=settings.deadline_s,
            use_gpu=settings.num_gpus > 0,
            num_threads=max(1, int(settings.num_cpus)),
        )

    async def score(self, requests: list[ScoreRequest]) -> list[ScoreAnswer]:
        """One answer for each request, in order."""
        async with asyncio.timeout(self.deadline_s):
            return await self.scorer.score(requests)

    async def check_health(self) -> None:
        """Called by Serve, which replaces the replica when this raises: a real question must be answered."""
        async with asyncio.timeout(HEALTH_DEADLINE_S):
            await self.scorer.check_health()

    def __del__(self) -> None:
        # Serve calls this when it stops a replica; without it the engine's process would outlive it for a while.
        scorer = getattr(self, "scorer", None)
        if scorer is not None:
            scorer.shutdown()


def build_app(config: ScoringConfig) -> serve.Application:
    """The Serve application of a configuration."""
    decorate = serve.deployment(
        name=DEPLOYMENT,
        num_replicas=config.min_replicas,
        max_ongoing_requests=config.max_ongoing_requests,
        max_queued_requests=config.max_queued_requests,
        max_constructor_retry_count=CONSTRUCTOR_TRIES,
        health_check_period_s=HEALTH_PERIOD_S,
        health_check_timeout_s=HEALTH_DEADLINE_S,
        graceful_shutdown_timeout_s=10.0,
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
        ray_actor_options={"num_cpus": config.num_cpus, "num_gpus": config.num_gpus},
    )
    return decorate(MLLM).bind(dataclasses.asdict(config))


class ServeScorer:
    """The ``Scorer`` behind a Serve application, which may come, go and come back under the same name.

    Args:
        app: name of the application
        deadline_s: seconds one batch may take, waiting for a replica included
    """

    def __init__(self, app: str, deadline_s: float) -> None:
        self.app, self.deadline_s = app, deadline_s

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreAnswer]:
        """See ``engine.Scorer``."""
        response = None
        try:
            # Looked up anew for each batch: an application that was deleted and deployed again has another handle.
            handle = await asyncio.to_thread(serve.get_app_handle, self.app)
            async with asyncio.timeout(self.deadline_s):
                response = handle.score.remote(list(requests))
                return await response
        except TimeoutError as error:
            if response is not None:
                response.cancel()
            raise ScorerError(
                f"no answer from the Serve application {self.app!r} within scoring.deadline_s={self.deadline_s:g} s; "
                "see `serve status`"
            ) from error
        except BackPressureError as error:
            await asyncio.sleep(NO_CAPACITY_S)
            raise ScorerError(
                f"the Serve application {self.app!r} has no room for another request; raise scoring.max_replicas or "
                "scoring.max_queued_requests"
            ) from error
        except (RayServeException, RayError) as error:
            cause = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
            raise ScorerError(f"the Serve application {self.app!r} cannot answer: {cause}") from error
