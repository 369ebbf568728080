"""The store of answers: what is asked, what is kept, writers side by side, damage, bounds, and no mixing."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from gem_ray.config import StorageConfig
from gem_ray.errors import ScorerError, StorageError
from gem_ray.messages import PairAspect, PairRequest, Request, ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking import answers as answers_module
from gem_ray.scoring.asking.answers import RememberingScorer, StoredAnswers, answer_key
from gem_ray.scoring.asking.prompts import missing
from gem_ray.scoring.asking.scripted import ScriptedScorer, answer_of_value
from gem_ray.storage import Storage

PLENTY = 100_000_000


def make_storage(folder: Path) -> Storage:
    return Storage(str(folder / "answers"), StorageConfig())


def make_requests(count: int, attribute: str = "male") -> list[Request]:
    return [
        ScoreRequest(image=index.to_bytes(2, "big") * 6, height=2, width=2, attribute=attribute)
        for index in range(count)
    ]


def value_of(request: Request) -> ScoreAnswer:
    assert isinstance(request, ScoreRequest)
    return answer_of_value(int.from_bytes(request.image[:2], "big") / 1000)


def make_answers(count: int) -> list[ScoreAnswer]:
    return [answer_of_value(index / 1000) for index in range(count)]


def add_some(storage: Storage, start: int, stop: int, model: str = "a", step: int = 10) -> None:
    """Store answers to questions ``start`` to ``stop``, a few at a time."""
    answers = StoredAnswers(storage, PLENTY)
    requests = make_requests(stop)
    for first in range(start, stop, step):
        part = requests[first : min(first + step, stop)]
        answers.add([answer_key(request, model) for request in part], [value_of(request) for request in part])


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


def test_two_models_and_two_prompt_versions_do_not_mix(tmp_path: Path) -> None:
    answers = StoredAnswers(make_storage(tmp_path), PLENTY)
    (request,) = make_requests(1)
    told = {("a", "score-1"): 0.1, ("b", "score-1"): 0.5, ("a", "score-2"): 0.9}
    for (model, version), value in told.items():
        answers.add([answer_key(request, model, version)], [answer_of_value(value)])
    again = StoredAnswers(make_storage(tmp_path), PLENTY)
    for (model, version), value in told.items():
        (answer,) = again.get([answer_key(request, model, version)])
        assert answer is not None
        assert answer.expectation == pytest.approx(5 * value, abs=1e-5)
    assert again.get([answer_key(request, "b", "score-2")]) == [None]


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


def test_two_processes_that_write_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    storage = make_storage(tmp_path)
    # Enough small segments that both processes compact while the other writes.
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=add_some, args=(storage, *part, "a", 3)) for part in ((0, 330), (270, 600))]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    found = StoredAnswers(storage, PLENTY).get(keys_of(make_requests(600)))
    assert [answer.expectation for answer in found if answer] == pytest.approx(
        [index / 200 for index in range(600)], abs=1e-5
    )
    assert len(storage.sizes()) < 200  # 220 were written


def test_what_another_process_wrote_is_found_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = StoredAnswers(make_storage(tmp_path), PLENTY)
    key = keys_of(make_requests(1))
    assert mine.get(key) == [None]
    add_some(make_storage(tmp_path), 0, 1)
    assert mine.get(key) == [None]  # no listing for every miss
    monkeypatch.setattr(answers_module, "REFRESH_S", 0.0)
    assert mine.get(key)[0] is not None


@pytest.mark.parametrize("harm", ["truncate", "flip", "empty"])
def test_a_damaged_segment_is_left_out_with_a_warning_and_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    storage = make_storage(tmp_path)
    add_some(storage, 0, 20)
    first, second = storage.sizes()
    path = storage.local_path / first
    data = path.read_bytes()
    path.write_bytes({"truncate": data[:-40], "flip": bytes([data[0] ^ 1]) + data[1:], "empty": b""}[harm])
    scorer = ScriptedScorer(value_of)
    answers = StoredAnswers(storage, PLENTY)
    with caplog.at_level(logging.WARNING):
        told = asyncio.run(RememberingScorer(scorer, answers, "a").score(make_requests(20)))
    assert scorer.asked == make_requests(10)
    assert [answer.expectation for answer in told] == pytest.approx([index / 200 for index in range(20)], abs=1e-5)
    assert answers.damaged == 1
    assert first in caplog.text
    assert second not in caplog.text


def test_a_segment_that_holds_no_distributions_is_left_out(tmp_path: Path) -> None:
    from gem_ray.scoring.asking.answer_segments import ROW, encode_segment, segment_name

    rows = np.zeros(1, ROW)
    rows["p"], rows["mass"] = [[2, -1, 0, 0, 0, 0]], 1
    rows["key"] = np.frombuffer(keys_of(make_requests(1))[0], "V16")
    data = encode_segment(rows)
    make_storage(tmp_path).write_bytes(segment_name(data), data)
    answers = StoredAnswers(make_storage(tmp_path), PLENTY)
    assert answers.get(keys_of(make_requests(1))) == [None]
    assert answers.damaged == 1


def test_many_small_segments_are_written_as_one(tmp_path: Path) -> None:
    storage = make_storage(tmp_path)
    add_some(storage, 0, 300, step=2)  # 150 segments
    assert len(storage.sizes()) < 100
    found = StoredAnswers(storage, PLENTY).get(keys_of(make_requests(300)))
    assert None not in found


def test_the_oldest_answers_are_dropped_first_and_the_bound_holds(tmp_path: Path) -> None:
    storage = make_storage(tmp_path)
    bound = 60_000
    answers = StoredAnswers(storage, bound)
    requests = make_requests(3000)
    for start in range(0, 3000, 100):
        part = requests[start : start + 100]
        answers.add(keys_of(part), [value_of(request) for request in part])
        assert sum(storage.sizes().values()) <= bound
    found = [answer is not None for answer in answers.get(keys_of(requests))]
    kept = found.index(True)
    assert 0 < kept < 2500
    assert all(found[kept:])
    assert len(answers) == 3000 - kept  # memory is let go as well
    again = StoredAnswers(storage, bound).get(keys_of(requests))
    assert [answer is not None for answer in again] == found


def test_nothing_is_stored_where_nothing_may_be(tmp_path: Path) -> None:
    answers = StoredAnswers(make_storage(tmp_path), 0)
    answers.add(keys_of(make_requests(5)), make_answers(5))
    assert answers.get(keys_of(make_requests(5))) == [None] * 5
    assert not (tmp_path / "answers").exists()


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
