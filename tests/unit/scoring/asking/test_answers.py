"""The store of answers: what is kept, writers side by side, damage, bounds, and no mixing."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from gem_ray.messages.questions import Request, ScoreAnswer
from gem_ray.scoring.asking import answers as answers_module
from gem_ray.scoring.asking.answers import StoredAnswers
from gem_ray.scoring.asking.remembering_scorer import RememberingScorer, answer_key
from gem_ray.scoring.asking.scripted import ScriptedScorer, answer_of_value
from gem_ray.storage import Storage
from tests.unit.scoring.asking.small_requests import PLENTY, make_requests, make_storage, value_of


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
