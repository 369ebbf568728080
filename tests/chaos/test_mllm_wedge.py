"""An engine that hangs without dying: only a real question finds it. SIGSTOP of vLLM's process below a replica.

The replica's own process stays well: it answers Ray's pings, and Serve goes on sending it questions. Control: a health
check that asks no question finds nothing. Set ``-s`` to see the times.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from ray import cloudpickle, serve

from gem_ray.config import ScoringConfig
from gem_ray.data.faces import ATTRIBUTES, face
from gem_ray.errors import ScorerError
from gem_ray.messages.questions import ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.questions import Questioner
from gem_ray.scoring.asking.vllm_scorer import VLLMScorer
from gem_ray.scoring.serving.application import app_name, start_scorer, stop_scorer
from gem_ray.scoring.serving.deployment import ServedScorer
from gem_ray.scoring.serving.serve_scorer import ServeScorer

pytestmark = [pytest.mark.ray, pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(900)]
SEED = 7
CONFIG = ScoringConfig(deadline_s=10.0)
FOUND_WITHIN_S = CONFIG.deadline_s + 35.0
"""Of a busy engine: it is well for a deadline after its last answer, and then three checks in a row have to fail."""
MOST_S = 60.0
"""Until it is given up, on a machine that others use too."""


@pytest.fixture(scope="module", autouse=True)
def this_module_travels() -> Iterator[None]:
    """Ray's processes cannot import tests: send what is defined here by value."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture
def run(request: pytest.FixtureRequest, ray_with_serve: None) -> Iterator[str]:
    name = f"wedge-{request.node.name[:30]}"
    yield name
    stop_scorer(name)


class Unexamined(VLLMScorer):
    """Control: well as long as its process answers."""

    async def check_health(self) -> None:
        """Asks nothing of the engine."""


def unexamined(config: ScoringConfig) -> ServedScorer:
    return Unexamined(config.model, min_digit_mass=config.min_digit_mass, deadline_s=config.deadline_s)


def requests(count: int) -> list[ScoreRequest]:
    return [
        ScoreRequest(image=face(SEED, index)[0].tobytes(), height=64, width=64, attribute=name)
        for index in range(count)
        for name in ATTRIBUTES
    ]


def fault(scorer: ServeScorer) -> str | None:
    """What a caller without further tries sees; None where it is answered."""

    async def ask() -> list[ScoreAnswer]:
        return await scorer.score(requests(1))

    try:
        asyncio.run(ask())
    except ScorerError as error:
        return str(error)
    return None


def runs(run: str) -> bool:
    """Whether Serve counts a replica as one that runs."""
    (deployment,) = serve.status().applications[app_name(run)].deployments.values()
    return "RUNNING" in deployment.replica_states


def stop_engine(engine: psutil.Process) -> None:
    os.kill(engine.pid, signal.SIGSTOP)
    end = time.monotonic() + 5.0
    while engine.status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < end, "the engine does not stop"
        time.sleep(0.01)


def test_a_wedged_engine_is_found_by_a_real_question_and_its_replica_replaced(
    run: str, find_processes: Any, find_engines: Any
) -> None:
    start_scorer(CONFIG, run)
    (replica,), (engine,) = find_processes(f"ServeReplica:{app_name(run)}"), find_engines()
    scorer = ServeScorer(app_name(run), CONFIG.deadline_s)
    questioner = Questioner(scorer, batch_questions=12, max_in_flight=4)
    assert fault(scorer) is None
    stop_engine(engine)
    began = time.monotonic()
    seen: list[tuple[bool, str]] = []
    given_up_s: list[float] = []

    async def ask_meanwhile() -> list[ScoreAnswer]:
        asking = asyncio.create_task(questioner.ask_requests(requests(8)))
        while not asking.done():
            seen.append((questioner.waiting, questioner.last_error))
            if not given_up_s and not await asyncio.to_thread(runs, run):
                given_up_s.append(time.monotonic() - began)
            await asyncio.sleep(0.5)
        return await asking

    assert "no answer" in (fault(scorer) or ""), "the engine was not wedged"
    assert replica.is_running(), "the replica died by itself: nothing is shown about the health check"
    answers = asyncio.run(ask_meanwhile())
    answered_s = time.monotonic() - began
    assert given_up_s, "Serve never gave the wedged replica up"
    figures = {"seed": SEED, "found_s": round(given_up_s[0], 1), "answered_again_s": round(answered_s, 1)}
    print(json.dumps(figures), flush=True)
    assert given_up_s[0] <= MOST_S
    assert any(waiting and "no answer" in error for waiting, error in seen)
    assert all(answer.probabilities is not None for answer in answers)
    cost = questioner.cost
    assert (cost.asked, cost.answered, cost.failed) == (48, 48, 0)
    assert not engine.is_running(), "the wedged engine is still there, with its memory"
    assert [process.pid for process in find_processes(f"ServeReplica:{app_name(run)}")] != [replica.pid]


def test_control_without_a_real_question_a_wedged_engine_stays(
    run: str, find_processes: Any, find_engines: Any
) -> None:
    start_scorer(CONFIG, run, unexamined)
    (replica,), (engine,) = find_processes(f"ServeReplica:{app_name(run)}"), find_engines()
    scorer = ServeScorer(app_name(run), CONFIG.deadline_s)
    assert fault(scorer) is None
    stop_engine(engine)
    try:
        end = time.monotonic() + 2 * FOUND_WITHIN_S
        while time.monotonic() < end:
            assert "no answer" in (fault(scorer) or "")
        assert replica.is_running()
    finally:
        engine.kill()
