"""How long who waits for the MLLM waits: the caller longer than the replica, the replica longer than its engine."""

from __future__ import annotations

import asyncio
import dataclasses
from types import SimpleNamespace

import pytest

from gem_ray.config import ScoringConfig
from gem_ray.data.faces import ATTRIBUTES
from gem_ray.errors import ScorerError
from gem_ray.messages.questions import Request, ScoreAnswer
from gem_ray.scoring.asking.calibration import grey_request
from gem_ray.scoring.asking.prompts import missing
from gem_ray.scoring.asking.scripted import ScriptedScorer, answer_of_value
from gem_ray.scoring.serving import deployment, serve_scorer
from gem_ray.scoring.serving.deployment import MLLM
from gem_ray.scoring.serving.serve_scorer import ServeScorer

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

    def remote(method):
        return SimpleNamespace(remote=lambda *given: asyncio.ensure_future(method(*given)))

    scorer._handle = SimpleNamespace(score=remote(replica.score), configuration=remote(replica.configuration))
    return scorer


def without_deadline(replica: MLLM) -> SimpleNamespace:
    """One that waits for its engine as long as that takes."""
    return SimpleNamespace(score=replica.scorer.score, configuration=replica.configuration)


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
    monkeypatch.setattr(serve_scorer, "replica_state", lambda _: "1 RUNNING")
    monkeypatch.setattr(serve_scorer, "CALLER_MARGIN_S", 0.05)
    monkeypatch.setattr(serve_scorer, "REPLICA_MARGIN_S", 0.05)
    replica = replica_of(LateEngine(60))
    with pytest.raises(ScorerError, match=r"deadline_s=0\.1 s and 0\.1 s more \(1 RUNNING\)"):
        asyncio.run(scorer_of(without_deadline(replica)).score(REQUESTS))


def test_a_caller_that_was_not_answered_in_time_takes_over_the_deadline_that_the_replicas_have_by_now(monkeypatch):
    monkeypatch.setattr(serve_scorer, "replica_state", lambda _: "1 RUNNING")
    monkeypatch.setattr(serve_scorer, "REPLICA_MARGIN_S", 0.0)
    monkeypatch.setattr(serve_scorer, "CALLER_MARGIN_S", 0.0)
    replica = replica_of(LateEngine(0.3))
    replica.settings = dataclasses.replace(replica.settings, deadline_s=30.0)
    scorer = scorer_of(replica)
    with pytest.raises(ScorerError, match=r"deadline_s=0\.1 s"):
        asyncio.run(scorer.score(REQUESTS))
    assert scorer.deadline_s == 30.0
    again = scorer_of(replica)
    again.deadline_s = scorer.deadline_s
    assert failures(asyncio.run(again.score(REQUESTS)))[0] is None


def test_a_caller_keeps_its_deadline_where_no_replica_says_another(monkeypatch):
    monkeypatch.setattr(serve_scorer, "replica_state", lambda _: "1 RUNNING")
    monkeypatch.setattr(serve_scorer, "REPLICA_MARGIN_S", 0.0)
    monkeypatch.setattr(serve_scorer, "CALLER_MARGIN_S", 0.0)
    monkeypatch.setattr(serve_scorer, "DEADLINE_LOOK_S", 0.05)
    replica = without_deadline(replica_of(LateEngine(60)))
    replica.configuration = lambda: asyncio.sleep(60)
    scorer = scorer_of(replica)
    with pytest.raises(ScorerError):
        asyncio.run(scorer.score(REQUESTS))
    assert scorer.deadline_s == DEADLINE_S


def test_of_calls_under_way_together_each_that_is_not_answered_says_so(monkeypatch):
    """The first to fail lets go of the handle that the others came by."""
    monkeypatch.setattr(serve_scorer, "replica_state", lambda _: "1 RUNNING")
    monkeypatch.setattr(serve_scorer, "REPLICA_MARGIN_S", 0.0)
    monkeypatch.setattr(serve_scorer, "CALLER_MARGIN_S", 0.0)
    scorer = scorer_of(without_deadline(replica_of(LateEngine(60))))

    async def one_after_the_other() -> list[object]:
        first = asyncio.create_task(scorer.score(REQUESTS))
        await asyncio.sleep(DEADLINE_S / 2)
        return await asyncio.gather(first, scorer.score(REQUESTS), return_exceptions=True)

    faults = asyncio.run(one_after_the_other())
    assert [type(fault) for fault in faults] == [ScorerError, ScorerError], faults
