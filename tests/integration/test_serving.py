"""The deployment under load, and in a change of the model: replicas come and go, and no caller sees an error."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from ray import cloudpickle, serve

from gem_ray.config import ScoringConfig
from gem_ray.data.faces import ATTRIBUTES, face
from gem_ray.errors import ScorerBusyError, ScorerError
from gem_ray.messages.questions import ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.model_files import NANO_FOLDER
from gem_ray.scoring.asking.scripted import ScriptedScorer, answer_of_value
from gem_ray.scoring.serving.application import app_name, change_mllm, start_scorer, stop_scorer
from gem_ray.scoring.serving.deployment import DEPLOYMENT, ServedScorer
from gem_ray.scoring.serving.serve_scorer import ServeScorer
from gem_ray.train.ray_session import start_ray

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
PUSH_EVERY = {
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",
}


@pytest.fixture(scope="module", autouse=True)
def serve_here() -> Iterator[None]:
    """A Ray whose autoscaler hears of the load twice a second."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PUSH_EVERY.items():
            patch.setenv(name, value)
        start_ray(
            num_cpus=4,
            include_dashboard=False,
            object_store_memory=200_000_000,
            runtime_env={"env_vars": PUSH_EVERY},
        )
        yield
        serve.shutdown()
        ray.shutdown()


class SlowScorer(ScriptedScorer):
    """A scripted scorer that a replica can be made of."""

    async def check_health(self) -> None:
        """Always well."""

    def shutdown(self) -> None:
        """Nothing was started."""


def slow_scorer(config: ScoringConfig) -> ServedScorer:
    """Answers every batch after a third of a second; anything but the nano model does not load."""
    if config.model != "nano":
        raise ScorerError("no memory left")

    def answer(request: ScoreRequest) -> ScoreAnswer:
        return answer_of_value(0.5)

    return SlowScorer(answer, delay_s=0.3)


@pytest.fixture(scope="module", autouse=True)
def this_module_travels() -> Iterator[None]:
    """Ray's processes cannot import tests: send what is defined here by value."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


def num_running(run: str) -> int:
    states = serve.status().applications[app_name(run)].deployments[DEPLOYMENT].replica_states
    return sum(count for state, count in states.items() if getattr(state, "value", state) == "RUNNING")


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s, f"waited {timeout_s} s in vain: {what}"
        time.sleep(0.1)
    return time.monotonic() - began


def requests(count: int) -> list[ScoreRequest]:
    return [
        ScoreRequest(image=image.tobytes(), height=64, width=64, attribute=name)
        for image, _ in (face(7, index) for index in range(count))
        for name in ATTRIBUTES
    ]


async def under_load(run: str, callers: int, until: asyncio.Event) -> list[ScoreAnswer | ScorerError]:
    """What callers get who ask one batch after the other."""
    scorer, got = ServeScorer(app_name(run), 60.0), []
    batch = requests(2)

    async def call() -> None:
        while not until.is_set():
            try:
                got.extend(await scorer.score(batch))
            except ScorerError as error:
                got.append(error)

    await asyncio.gather(*(call() for _ in range(callers)))
    return got


@pytest.mark.slow
def test_replicas_follow_the_load_up_from_none_and_back_without_an_error() -> None:
    run = f"elastic-{os.getpid()}"
    config = ScoringConfig(
        min_replicas=0,
        max_replicas=2,
        target_ongoing_requests=2.0,
        upscale_delay_s=1.0,
        downscale_delay_s=2.0,
        max_in_flight=8,
        num_cpus=0.5,
    )
    start_scorer(config, run, slow_scorer)
    wait_until(lambda: num_running(run) == 0, "the first replica is let go, since nobody asks")

    async def load() -> list[ScoreAnswer | ScorerError]:
        until = asyncio.Event()
        calls = asyncio.create_task(under_load(run, 8, until))
        await asyncio.to_thread(wait_until, lambda: num_running(run) == 2, "a second replica is there")
        until.set()
        return await calls

    got = asyncio.run(load())
    assert got
    assert not [answer for answer in got if isinstance(answer, ScorerError)]
    wait_until(lambda: num_running(run) == 0, "both are let go")
    stop_scorer(run)


@pytest.mark.slow
def test_a_new_model_that_does_not_load_leaves_the_former_one_answering(tmp_path: Path) -> None:
    run = f"rolling-{os.getpid()}"
    other = shutil.copytree(NANO_FOLDER, tmp_path / "other")
    config = ScoringConfig(max_in_flight=8, deadline_s=20.0)
    start_scorer(config, run, slow_scorer)
    scorer = ServeScorer(app_name(run), 20.0)

    async def change() -> list[ScoreAnswer | ScorerError]:
        until = asyncio.Event()
        calls = asyncio.create_task(under_load(run, 2, until))
        with pytest.raises(ScorerError, match=r"cannot be served: no memory left"):
            await asyncio.to_thread(change_mllm, replace(config, model=str(other)), run, slow_scorer)
        assert (await scorer.configuration()).model == "nano"
        await asyncio.to_thread(change_mllm, replace(config, deadline_s=30.0), run, slow_scorer)
        assert (await scorer.configuration()).deadline_s == 30.0
        until.set()
        return await calls

    got = asyncio.run(change())
    assert got
    assert not [answer for answer in got if isinstance(answer, ScorerError)]
    stop_scorer(run)


def test_ten_times_the_load_is_refused_at_once() -> None:
    run = f"full-{os.getpid()}"
    config = ScoringConfig(max_ongoing_requests=1, max_queued_requests=2, max_in_flight=3)
    start_scorer(config, run, slow_scorer)
    scorer, batch = ServeScorer(app_name(run), 20.0), requests(1)

    async def ask() -> tuple[str, float]:
        began = time.monotonic()
        try:
            await scorer.score(batch)
        except ScorerBusyError:
            return "refused", time.monotonic() - began
        return "answered", time.monotonic() - began

    async def ask_all() -> list[tuple[str, float]]:
        await scorer.score(batch)  # the router is set up by the first call
        return await asyncio.gather(*(ask() for _ in range(30)))

    got = asyncio.run(ask_all())
    refused = [seconds for outcome, seconds in got if outcome == "refused"]
    assert len(refused) >= 20
    assert len(refused) < len(got)
    assert sorted(refused)[len(refused) // 2] < 1.0
    stop_scorer(run)


def test_a_run_without_an_mllm_has_none_that_could_be_changed() -> None:
    with pytest.raises(ScorerError, match=r"run 'nobody' has no MLLM .*start the run first"):
        change_mllm(ScoringConfig(), "nobody", slow_scorer)
