"""A scorer with a store of answers: what is asked, what is stored, under which model, and without its storage."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from gem_ray.config import StorageConfig
from gem_ray.errors import ScorerError, StorageError
from gem_ray.messages.questions import PairAspect, PairRequest, Request, ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.answers import StoredAnswers
from gem_ray.scoring.asking.prompts import missing
from gem_ray.scoring.asking.remembering_scorer import RememberingScorer, answer_key
from gem_ray.scoring.asking.scripted import ScriptedScorer, answer_of_value
from gem_ray.storage import Storage
from tests.unit.scoring.asking.small_requests import PLENTY, make_requests, make_storage, value_of


def keys_of(requests: list[Request], model: str = "a") -> list[bytes]:
    return [answer_key(request, model) for request in requests]


def test_every_part_of_a_question_is_part_of_its_key() -> None:
    base = ScoreRequest(image=bytes(24), height=2, width=4, attribute="male")
    pair = PairRequest(source="a", target="b", aspect=PairAspect.SIGN, target_first=False)
    keys = [
        answer_key(base, "m"),
        answer_key(base, "n"),
        answer_key(base, "m", "score-2"),
        answer_key(ScoreRequest(image=bytes(23) + b"\1", height=2, width=4, attribute="male"), "m"),
        answer_key(ScoreRequest(image=bytes(24), height=4, width=2, attribute="male"), "m"),
        answer_key(ScoreRequest(image=bytes(24), height=2, width=4, attribute="beard"), "m"),
        answer_key(ScoreRequest(image=bytes(24), height=2, width=4, attribute="male", wording=1), "m"),
        answer_key(pair, "m"),
        answer_key(PairRequest(source="b", target="a", aspect=PairAspect.SIGN, target_first=False), "m"),
        answer_key(PairRequest(source="a", target="b", aspect=PairAspect.STRENGTH, target_first=False), "m"),
        answer_key(PairRequest(source="a", target="b", aspect=PairAspect.SIGN, target_first=True), "m"),
    ]
    assert len(set(keys)) == len(keys)
    assert answer_key(ScoreRequest(image=bytes(24), height=2, width=4, attribute="male"), "m") == keys[0]


def test_a_second_scan_asks_nothing_and_hears_the_same(tmp_path: Path) -> None:
    requests = make_requests(30)
    first = ScriptedScorer(value_of)
    told = asyncio.run(RememberingScorer(first, StoredAnswers(make_storage(tmp_path), PLENTY), "a").score(requests))
    second = ScriptedScorer(value_of)
    scorer = RememberingScorer(second, StoredAnswers(make_storage(tmp_path), PLENTY), "a")
    again = asyncio.run(scorer.score(requests))
    assert len(first.asked) == 30
    assert second.asked == []
    assert all(answer.stored and answer.model == "a" for answer in again)
    assert not any(answer.stored for answer in told)
    np.testing.assert_allclose(
        [answer.probabilities for answer in again], [answer.probabilities for answer in told], atol=1e-6
    )


def test_only_what_is_not_stored_is_asked_and_a_question_that_comes_twice_once(tmp_path: Path) -> None:
    scorer = ScriptedScorer(value_of)
    remembering = RememberingScorer(scorer, StoredAnswers(make_storage(tmp_path), PLENTY), "a")
    requests = make_requests(6)
    asyncio.run(remembering.score(requests[:3]))
    answers = asyncio.run(remembering.score([*requests, requests[5]]))
    assert scorer.asked == requests
    assert [answer.stored for answer in answers] == [True] * 3 + [False] * 4
    assert answers[5] == answers[6]


def test_missing_and_hostile_answers_are_never_stored(tmp_path: Path) -> None:
    bad = [missing("deadline"), ScoreAnswer(probabilities=(float("nan"),) * 6, digit_mass=1.0)]
    bad += [ScoreAnswer(probabilities=(1e9, 0, 0, 0, 0, 0), digit_mass=1.0)]
    scorer = ScriptedScorer(lambda request: bad[request.image[1]])
    for _ in range(2):
        remembering = RememberingScorer(scorer, StoredAnswers(make_storage(tmp_path), PLENTY), "a")
        answers = asyncio.run(remembering.score(make_requests(3)))
        assert [answer.failure for answer in answers] == ["deadline", "bad_answer", "bad_answer"]
    assert len(scorer.asked) == 6
    assert make_storage(tmp_path).sizes() == {}


def test_an_answer_is_stored_under_the_model_that_gave_it(tmp_path: Path) -> None:
    storage = make_storage(tmp_path)
    (request,) = make_requests(1)
    other = ScoreAnswer(probabilities=(0, 0, 0, 0, 0, 1), digit_mass=1.0, model="new")
    scorer = ScriptedScorer(lambda request: other)
    remembering = RememberingScorer(scorer, StoredAnswers(storage, PLENTY), "old")
    for _ in range(2):  # the old model's answer is still not known
        assert asyncio.run(remembering.score([request])) == [other]
    remembering.model = "new"
    (answer,) = asyncio.run(remembering.score([request]))
    assert len(scorer.asked) == 2
    assert (answer.stored, answer.model) == (True, "new")


def test_pairs_are_remembered_too(tmp_path: Path) -> None:
    pair = PairRequest(source="beard", target="male", aspect=PairAspect.STRENGTH, target_first=True)
    scorer = ScriptedScorer(lambda request: answer_of_value(0.8))
    remembering = RememberingScorer(scorer, StoredAnswers(make_storage(tmp_path), PLENTY), "a")
    for _ in range(2):
        asyncio.run(remembering.score([pair]))
    assert scorer.asked == [pair]


def test_scoring_goes_on_where_storage_fails_and_stores_later(tmp_path: Path) -> None:
    class Moody(Storage):
        """A folder that cannot be written while ``down`` holds something."""

        down: list[int] = []  # noqa: RUF012

        def write_bytes(self, name: str, data: bytes) -> None:
            if self.down:
                raise StorageError("cannot write: down")
            super().write_bytes(name, data)

    storage = Moody(str(tmp_path / "answers"), StorageConfig())
    Moody.down = [1]
    remembering = RememberingScorer(ScriptedScorer(value_of), StoredAnswers(storage, PLENTY), "a")
    requests = make_requests(12)
    told = asyncio.run(remembering.score(requests[:6]))
    assert all(answer.probabilities for answer in told)
    assert remembering.storage_faults == 1
    Moody.down = []
    asyncio.run(remembering.score(requests[6:]))
    assert None not in StoredAnswers(make_storage(tmp_path), PLENTY).get(keys_of(requests))


def test_a_scorer_that_gives_too_few_answers_is_an_absent_one(tmp_path: Path) -> None:
    class Forgetful(ScriptedScorer):
        async def score(self, requests):  # type: ignore[no-untyped-def]
            return (await super().score(requests))[:-1]

    remembering = RememberingScorer(Forgetful(value_of), StoredAnswers(make_storage(tmp_path), PLENTY), "a")
    with pytest.raises(ScorerError, match="2 answers to 3 questions"):
        asyncio.run(remembering.score(make_requests(3)))
    assert make_storage(tmp_path).sizes() == {}
