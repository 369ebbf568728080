"""The shipped MLLM to be timed: the engine alone, and behind Ray Serve."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CONCURRENCY = 16
DEADLINE_S = 120.0


@contextmanager
def bare_engine(runner: asyncio.Runner, **options: Any) -> Iterator[Any]:
    """The scorer of a replica without the replica: its engine's process below this one."""
    from gem_ray.scoring.asking.vllm_scorer import VLLMScorer

    async def start() -> VLLMScorer:
        return VLLMScorer("nano", min_digit_mass=0.0, deadline_s=DEADLINE_S, **options)

    scorer = runner.run(start())
    try:
        yield scorer
    finally:
        scorer.shutdown()


@contextmanager
def served() -> Iterator[Any]:
    """The same behind Ray Serve."""
    from gem_ray.config import GemConfig, ScoringConfig
    from gem_ray.scoring.serving.serve_scorer import ServeScorer
    from gem_ray.train.ray_session import ray_session

    config = ScoringConfig(
        max_ongoing_requests=2 * CONCURRENCY, max_queued_requests=64, deadline_s=DEADLINE_S, min_digit_mass=0.0
    )
    with ray_session(GemConfig(scoring=config)):
        from gem_ray.scoring.serving.application import app_name, start_scorer, stop_scorer

        start_scorer(config, "bench")
        try:
            yield ServeScorer(app_name("bench"), DEADLINE_S)
        finally:
            stop_scorer("bench")
