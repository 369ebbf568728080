"""SIGKILLs of the MLLM's replicas under load: every question gets its own answer, once; none is lost or invented.

The scripted replicas write down each question they answer, which shows that kills do make replicas answer the same
question twice. Controls: callers without the questioner's tries see errors, and who counts in the replicas counts
questions twice. Set ``-s`` to see the recovery times.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from ray import cloudpickle

from gem_ray.config import ScoringConfig
from gem_ray.data.faces import ATTRIBUTES, face
from gem_ray.errors import ScorerError
from gem_ray.messages.questions import ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.questions import Questioner
from gem_ray.scoring.asking.scripted import ScriptedScorer, answer_of_value
from gem_ray.scoring.serving.application import app_name, start_scorer, stop_scorer
from gem_ray.scoring.serving.deployment import ServedScorer, replica_state
from gem_ray.scoring.serving.serve_scorer import ServeScorer

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
SEED = 20_26
PER_SECOND = 20  # requests
PATIENCE_S = 240.0
CONFIG = ScoringConfig(min_replicas=2, max_replicas=2, max_in_flight=12, deadline_s=8.0, num_cpus=0.5)


@pytest.fixture(scope="module", autouse=True)
def this_module_travels() -> Iterator[None]:
    """Ray's processes cannot import tests: send what is defined here by value."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


class WritingScorer(ScriptedScorer):
    """A replica that writes down what it answers before it answers, and keeps the answer back for a moment."""

    def __init__(self, ledger: str) -> None:
        super().__init__(lambda request: answer_of_value(true_value(request)), delay_s=0.2)
        self._ledger = ledger

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreAnswer]:
        answers = await super().score(requests)
        lines = "".join(f"{number_of(request.image)} {request.attribute}\n" for request in requests)
        with open(self._ledger, "ab", buffering=0) as file:  # one write: lines of two replicas do not mix
            file.write(lines.encode())
        await asyncio.sleep(0.1)
        return answers

    async def check_health(self) -> None:
        """Always well."""

    def shutdown(self) -> None:
        """Nothing was started."""


def writing_to(ledger: Path) -> Callable[[ScoringConfig], ServedScorer]:
    return lambda config: WritingScorer(str(ledger))


def numbered_image(number: int) -> np.ndarray:
    """uint8 [1, 4, 4, 3] that carries its number."""
    return np.frombuffer(number.to_bytes(4, "little") + bytes(44), np.uint8).reshape(1, 4, 4, 3)


def number_of(image: bytes) -> int:
    return int.from_bytes(image[:4], "little")


def true_value(request: ScoreRequest) -> float:
    """Another value for each question, so that an answer given to the wrong one shows."""
    place = [number_of(request.image), ATTRIBUTES.index(request.attribute)]
    return float(np.random.default_rng(place).uniform())


class CountingErrors:
    """Passes questions on, and counts the requests that failed: what a caller without further tries would see."""

    def __init__(self, scorer: ServeScorer) -> None:
        self._scorer, self.errors = scorer, Counter[str]()

    async def score(self, requests: Sequence[Any]) -> list[ScoreAnswer]:
        try:
            return await self._scorer.score(requests)
        except ScorerError as error:
            self.errors[type(error.__cause__).__name__] += 1
            raise


@dataclass
class Killer:
    """SIGKILLs one replica's process every few seconds, whichever the seed says, a loading one included."""

    run: str
    find: Callable[[str], list[psutil.Process]]
    kills: int
    period_s: float
    killed: list[int] = field(default_factory=list)
    recovery_s: float = float("inf")
    """From the last kill until as many replicas run as should."""

    def alive(self) -> list[int]:
        return sorted(process.pid for process in self.find(f"ServeReplica:{app_name(self.run)}"))

    def work(self) -> None:
        rng, end = np.random.default_rng(SEED), time.monotonic() + PATIENCE_S
        while len(self.killed) < self.kills and time.monotonic() < end:
            time.sleep(self.period_s)
            alive = [pid for pid in self.alive() if pid not in self.killed]
            if alive:  # on a busy machine a new process may take longer than the period
                self.killed.append(alive[int(rng.integers(len(alive)))])
                os.kill(self.killed[-1], signal.SIGKILL)
                print(f"kill {len(self.killed)}: {self.killed[-1]} of {alive}", flush=True)
        began = time.monotonic()
        while not self._recovered() and time.monotonic() < end:
            time.sleep(0.2)
        self.recovery_s = time.monotonic() - began

    def _recovered(self) -> bool:
        alive = self.alive()
        running = replica_state(app_name(self.run)) == "2 RUNNING"
        return running and len(alive) == 2 and not set(alive) & set(self.killed)


async def load(ask: Callable[[int], Any], killer: Killer) -> list[Any]:
    """Results of requests begun at an even rate until the replicas have recovered from the last kill."""
    killing = asyncio.create_task(asyncio.to_thread(killer.work))
    tasks, began = [], time.monotonic()
    while not killing.done():
        tasks.append(asyncio.create_task(ask(len(tasks))))
        await asyncio.sleep(max(0.0, began + len(tasks) / PER_SECOND - time.monotonic()))
    return list(await asyncio.gather(*tasks))


@pytest.fixture
def run(request: pytest.FixtureRequest, ray_with_serve: None) -> Iterator[str]:
    name = f"kills-{request.node.name[:30]}"
    yield name
    stop_scorer(name)


def report(**figures: Any) -> None:
    print(json.dumps({"seed": SEED, **figures}), flush=True)


@pytest.mark.slow
def test_killed_replicas_lose_no_question_and_none_counts_twice(run: str, tmp_path: Path, find_processes: Any) -> None:
    start_scorer(CONFIG, run, writing_to(tmp_path / "ledger"))
    killer = Killer(run, find_processes, kills=3, period_s=2.0)
    scorer = CountingErrors(ServeScorer(app_name(run), CONFIG.deadline_s))
    questioner = Questioner(scorer, batch_questions=6, max_in_flight=CONFIG.max_in_flight)
    answers = asyncio.run(load(lambda number: questioner.ask(numbered_image(number), ATTRIBUTES), killer))
    worked = Counter((tmp_path / "ledger").read_text().splitlines())
    asked, cost = len(answers) * len(ATTRIBUTES), questioner.cost
    report(
        kills=len(killer.killed),
        requests=len(answers),
        failed_tries=dict(scorer.errors),
        answered_twice_by_replicas=sum(worked.values()) - asked,
        recovery_s=round(killer.recovery_s, 1),
    )
    assert len(set(killer.killed)) == 3
    assert scorer.errors.total() > 0, "no kill hit a request: nothing was tested"
    assert killer.recovery_s < 60
    assert (cost.asked, cost.answered, cost.failed, cost.under_way) == (asked, asked, 0, 0)
    assert len(worked) == asked
    assert sum(worked.values()) > asked, "control: counted in the replicas, questions would count twice"
    for number, group in enumerate(answers):
        wanted = [answer_of_value(true_value(question)) for question in questions_about(number)]
        assert [answer.probabilities for answer in group] == [answer.probabilities for answer in wanted]


def questions_about(number: int) -> list[ScoreRequest]:
    image = numbered_image(number).tobytes()
    return [ScoreRequest(image=image, height=4, width=4, attribute=name) for name in ATTRIBUTES]


@pytest.mark.slow
def test_control_a_caller_that_asks_once_sees_the_kills(run: str, tmp_path: Path, find_processes: Any) -> None:
    start_scorer(CONFIG, run, writing_to(tmp_path / "ledger"))
    killer = Killer(run, find_processes, kills=2, period_s=2.0)
    scorer = ServeScorer(app_name(run), CONFIG.deadline_s)

    async def ask(number: int) -> bool:
        try:
            await scorer.score(questions_about(number))
        except ScorerError:
            return False
        return True

    answered = asyncio.run(load(ask, killer))
    report(kills=len(killer.killed), requests=len(answered), errors=answered.count(False))
    assert len(killer.killed) == 2
    assert answered.count(False) > 0


@pytest.mark.slow
@pytest.mark.vllm
def test_ten_kills_of_real_replicas_change_no_answer(run: str, find_processes: Any, find_engines: Any) -> None:
    start_scorer(CONFIG, run)
    faces = [face(SEED, index)[0][None] for index in range(20)]
    scorer = CountingErrors(ServeScorer(app_name(run), 60.0))
    questioner = Questioner(scorer, batch_questions=6, max_in_flight=CONFIG.max_in_flight)

    async def ask(number: int) -> list[ScoreAnswer]:
        return await questioner.ask(faces[number % len(faces)], ATTRIBUTES)

    async def before() -> list[list[ScoreAnswer]]:
        return [await ask(number) for number in range(len(faces))]

    undisturbed = asyncio.run(before())
    killer = Killer(run, find_processes, kills=10, period_s=5.0)
    scorer._scorer.deadline_s = 10.0
    answers = asyncio.run(load(ask, killer))
    asked, cost = (len(faces) + len(answers)) * len(ATTRIBUTES), questioner.cost
    report(
        kills=len(killer.killed),
        requests=len(answers),
        failed_tries=dict(scorer.errors),
        recovery_s=round(killer.recovery_s, 1),
    )
    assert len(set(killer.killed)) == 10
    assert scorer.errors.total() > 0
    assert killer.recovery_s < 150
    assert (cost.asked, cost.answered, cost.failed, cost.under_way) == (asked, asked, 0, 0)
    for number, group in enumerate(answers):
        for answer, wanted in zip(group, undisturbed[number % len(faces)], strict=True):
            assert answer.expectation == pytest.approx(wanted.expectation, abs=0.05)
    engines = find_engines()
    assert engines
    assert not [engine for engine in engines if orphaned(engine)]


def orphaned(engine: psutil.Process) -> bool:
    """Whether an engine's replica is gone."""
    return "ServeReplica" not in " ".join(" ".join(parent.cmdline()) for parent in engine.parents())
