"""Ten times the load the deployment takes: what is too much is refused at once, and nothing piles up anywhere.

The caller is a process of its own, as the rescorer and the gateway are, so that its memory can be watched; so is the
replica's. Control: with a queue without bounds the same check of memory fails. Set ``-s`` to see the figures.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import psutil
import pytest
import ray
from ray import cloudpickle

from gem_ray.config import ScoringConfig
from gem_ray.data.faces import ATTRIBUTES
from gem_ray.errors import ScorerBusyError, ScorerError
from gem_ray.messages.questions import ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.scripted import ScriptedScorer, answer_of_value
from gem_ray.scoring.serving.application import app_name, start_scorer, stop_scorer
from gem_ray.scoring.serving.deployment import ServedScorer
from gem_ray.scoring.serving.serve_scorer import ServeScorer

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
SEED = 12
BATCH_S, AT_A_TIME, QUEUED = 0.25, 2, 8
TAKES = AT_A_TIME / BATCH_S  # requests a second
OFFERED = 10 * TAKES
IMAGES, SIDE = 8, 64  # of one request: with every attribute 48 questions, 100 kB
SECONDS, WARM_UP_S = 10.0, 3.0
CONFIG = ScoringConfig(
    max_ongoing_requests=AT_A_TIME, max_queued_requests=QUEUED, max_in_flight=4, num_cpus=0.5, deadline_s=30.0
)


@pytest.fixture(scope="module", autouse=True)
def this_module_travels() -> Iterator[None]:
    """Ray's processes cannot import tests: send what is defined here by value."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


class SlowScorer(ScriptedScorer):
    """A scripted scorer that a replica can be made of."""

    async def check_health(self) -> None:
        """Always well."""

    def shutdown(self) -> None:
        """Nothing was started."""


def value_of(request: ScoreRequest) -> float:
    return request.image[0] / 255


def slow_scorer(config: ScoringConfig) -> ServedScorer:
    return SlowScorer(lambda request: answer_of_value(value_of(request)), delay_s=BATCH_S)


class Caller:
    """Asks at an even rate, whatever becomes of what it asked before."""

    def pid(self) -> int:
        return os.getpid()

    async def flood(self, app: str, seconds: float) -> list[tuple[str, float]]:
        """What became of each request, and after how many seconds."""
        scorer, rng = ServeScorer(app, CONFIG.deadline_s), np.random.default_rng(SEED)
        tasks: list[asyncio.Task[tuple[str, float]]] = []
        began = time.monotonic()
        while (now := time.monotonic() - began) < seconds:
            while len(tasks) < OFFERED * now:
                tasks.append(asyncio.create_task(self._ask(scorer, make_batch(rng))))
                await asyncio.sleep(0)
            await asyncio.sleep(0.5 / OFFERED)
        _, unfinished = await asyncio.wait(tasks, timeout=2 * (QUEUED + AT_A_TIME) / TAKES + 5.0)
        for task in unfinished:
            task.cancel()
        return [task.result() if task not in unfinished else ("unfinished", seconds) for task in tasks]

    async def _ask(self, scorer: ServeScorer, batch: Sequence[ScoreRequest]) -> tuple[str, float]:
        began = time.monotonic()
        try:
            answers = await scorer.score(batch)
        except ScorerBusyError:
            return "refused", time.monotonic() - began
        except ScorerError as error:
            return str(error), time.monotonic() - began
        return ("answered" if right(batch, answers) else "wrong"), time.monotonic() - began


def make_batch(rng: np.random.Generator) -> list[ScoreRequest]:
    images = [rng.bytes(SIDE * SIDE * 3) for _ in range(IMAGES)]
    return [ScoreRequest(image=i, height=SIDE, width=SIDE, attribute=name) for i in images for name in ATTRIBUTES]


def right(batch: Sequence[ScoreRequest], answers: Sequence[ScoreAnswer]) -> bool:
    wanted = [answer_of_value(value_of(request)).probabilities for request in batch]
    return [answer.probabilities for answer in answers] == wanted


@dataclass
class Memory:
    """Resident memory of processes, looked at while something runs."""

    pids: dict[str, int]
    samples: dict[str, list[float]] = field(default_factory=dict)

    def watch(self, ended: threading.Event) -> None:
        while not ended.wait(0.1):
            for name, pid in self.pids.items():
                self.samples.setdefault(name, []).append(psutil.Process(pid).memory_info().rss / 1e6)

    def growth(self) -> dict[str, float]:
        """Most after the warm-up over what was there at its end, by process."""
        found = {}
        for name, values in self.samples.items():
            start = int(len(values) * WARM_UP_S / SECONDS)
            found[name] = max(values[start:]) / values[start] - 1
        return found


@dataclass(frozen=True)
class Outcome:
    counts: Counter[str]
    refused_ms: np.ndarray
    answered_s: np.ndarray
    growth: dict[str, float]
    megabytes: dict[str, float]

    def show(self) -> None:
        figures: dict[str, Any] = {"seed": SEED, "offered_per_s": OFFERED, "takes_per_s": TAKES, **self.counts}
        if len(self.refused_ms):
            figures |= {f"refused_p{p}_ms": round(float(np.percentile(self.refused_ms, p)), 1) for p in (50, 99)}
        if len(self.answered_s):
            figures["answered_p99_s"] = round(float(np.percentile(self.answered_s, 99)), 2)
        figures |= {f"{name}_mb": round(value) for name, value in self.megabytes.items()}
        print(json.dumps(figures | {f"{name}_growth": round(value, 3) for name, value in self.growth.items()}))


def overload(run: str, config: ScoringConfig, find_processes: Any) -> Outcome:
    start_scorer(config, run, slow_scorer)
    (replica,) = find_processes(f"ServeReplica:{app_name(run)}")
    caller = ray.remote(Caller).options(num_cpus=0).remote()
    memory, ended = Memory({"replica": replica.pid, "caller": ray.get(caller.pid.remote())}), threading.Event()
    ray.get(caller.flood.remote(app_name(run), 1.0))  # imports, connections and the first queue
    watching = threading.Thread(target=memory.watch, args=(ended,))
    watching.start()
    try:
        results = ray.get(caller.flood.remote(app_name(run), SECONDS))
    finally:
        ended.set()
        watching.join()
        ray.kill(caller)
        stop_scorer(run)
    return Outcome(
        counts=Counter(what for what, _ in results),
        refused_ms=1e3 * np.array([seconds for what, seconds in results if what == "refused"]),
        answered_s=np.array([seconds for what, seconds in results if what == "answered"]),
        growth=memory.growth(),
        megabytes={name: values[-1] for name, values in memory.samples.items()},
    )


@pytest.mark.slow
def test_ten_times_the_load_is_refused_at_once_and_memory_stays_flat(ray_with_serve: None, find_processes: Any) -> None:
    outcome = overload("overload", CONFIG, find_processes)
    outcome.show()
    counts = outcome.counts
    assert set(counts) == {"answered", "refused"}
    assert counts["refused"] > 4 * counts["answered"], "it was no overload"
    assert counts["answered"] > 0.4 * TAKES * SECONDS, "accepted requests were starved"
    assert outcome.answered_s.max() < 3 * (QUEUED + AT_A_TIME) / TAKES + 2, "accepted requests waited too long"
    assert max(outcome.growth.values()) < 0.1
    assert np.median(outcome.refused_ms) < 50
    assert np.percentile(outcome.refused_ms, 99) < 500  # 20 where this process gets a core when it wants one


@pytest.mark.slow
def test_control_a_queue_without_bounds_piles_up(ray_with_serve: None, find_processes: Any) -> None:
    outcome = overload("unbounded", replace(CONFIG, max_queued_requests=1_000_000), find_processes)
    outcome.show()
    assert outcome.counts["refused"] == 0
    assert outcome.growth["caller"] > 0.1
