"""The rescorer's loop after a restart, another model, or an absence: nothing is asked or applied again."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from gem_ray.messages.questions import PairRequest, ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.scripted import ScriptedScorer, answer_of_value, judge_of
from gem_ray.storage import Storage
from tests.unit.scoring.rescoring.small_rescoring import (
    PAIRS,
    MemoryStore,
    ScriptedTraversals,
    make_rescoring,
    run_until,
    true_answer,
)


def test_after_a_restart_nothing_is_asked_or_applied_again(run: Storage) -> None:
    store = MemoryStore()
    first = ScriptedScorer(true_answer)
    traversals = ScriptedTraversals(500)
    before = make_rescoring(run, store, first, count=200, traversals=traversals)
    run_until(before, lambda: before.status().rounds >= 1)
    version = store.graph.version
    second = ScriptedScorer(true_answer)
    again = make_rescoring(run, store, second, count=200, traversals=traversals)
    run_until(again, lambda: again.status().rounds >= 2)
    assert second.asked == []
    assert store.graph.version == version
    assert again.status().images_scored == 200


def test_a_restart_in_the_middle_of_the_scan_goes_on_where_it_was(run: Storage) -> None:
    store = MemoryStore()
    before = make_rescoring(run, store, ScriptedScorer(true_answer))
    run_until(before, lambda: bool(run.list("scores")))
    kept = max(int(name.split("_")[2]) for name in run.list("scores")) // 6
    second = ScriptedScorer(true_answer)
    again = make_rescoring(run, store, second)
    run_until(again, lambda: again.status().rounds >= 1)
    numbers = {int.from_bytes(request.image[:4], "little") for request in second.asked}
    assert min(numbers) == kept


def test_an_absent_scorer_is_shown_and_rescoring_resumes_by_itself(run: Storage) -> None:
    store = MemoryStore()
    absent = {"now": False}
    scorer = ScriptedScorer(true_answer, fail=lambda batch: absent["now"])
    rescoring = make_rescoring(run, store, scorer, count=4000)
    phases: list[str] = []

    def step() -> bool:
        rounds = rescoring.status().rounds
        absent["now"] = rounds >= 2 and phases.count("waiting") < 10
        phases.append(rescoring.status().phase)
        return rounds >= 4

    run_until(rescoring, step)
    assert "waiting" in phases
    assert rescoring.status().phase == "rounds"
    assert rescoring.status().missing == 0


def test_an_absent_store_is_waited_for_and_the_push_arrives(run: Storage) -> None:
    store = MemoryStore()
    store.fail_next = 3
    rescoring = make_rescoring(run, store, ScriptedScorer(true_answer))
    run_until(rescoring, lambda: len(store.pushes) >= 3)
    assert [push.scores.num_images for push in store.pushes[:3]] == [128, 200, 250]


def test_another_model_is_scored_anew_and_its_table_kept_apart(run: Storage) -> None:
    answering = ["scripted"]
    scorer = ScriptedScorer(lambda request: replace(true_answer(request), model=answering[0]))
    store = MemoryStore()
    rescoring = make_rescoring(run, store, scorer, count=300)
    run_until(rescoring, lambda: rescoring.status().rounds >= 1)
    answering[0] = "better"
    again = make_rescoring(run, store, scorer, count=300)
    asked = len(scorer.asked)
    run_until(again, lambda: again.status().rounds >= 4)
    assert again.status().images_scored == 300
    evidence = [json.loads(run.read_bytes(name)) for name in run.list("evidence")]
    assert {record["model"] for record in evidence} == {"scripted", "better"}
    assert len(scorer.asked) - asked >= 300 * 6


def test_a_model_that_comes_back_has_its_relations_back(run: Storage) -> None:
    answering = ["first"]

    def answer(request: ScoreRequest) -> ScoreAnswer:
        told = true_answer(request)
        contrary = answer_of_value(1.0 - told.expectation / 5) if answering[0] == "contrary" else told
        return replace(contrary, model=answering[0])

    def judge(request: PairRequest) -> ScoreAnswer:
        sign = -1 if answering[0] == "contrary" else 1
        return replace(judge_of({pair: sign * 0.5 for pair in PAIRS})(request), model=answering[0])

    store, found = MemoryStore(), []
    for model in ("first", "contrary", "first", "contrary"):
        answering[0] = model
        rescoring = make_rescoring(run, store, ScriptedScorer(answer, judge=judge), count=200, judgements=True)
        run_until(rescoring, lambda rescoring=rescoring: rescoring.status().rounds >= 6)
        found.append((store.graph.scores, np.sign(store.graph.judged[~np.isnan(store.graph.judged)]).tolist()))
    assert found[0][0] == found[2][0] != found[1][0] == found[3][0]
    assert found[0][1] == found[2][1] != found[1][1] == found[3][1]


def test_a_restart_publishes_nothing_that_is_in_force(run: Storage) -> None:
    scorer, store = ScriptedScorer(true_answer), MemoryStore()
    for _ in range(3):
        rescoring = make_rescoring(run, store, scorer, count=200, round_images=0)
        run_until(rescoring, lambda rescoring=rescoring: rescoring.status().rounds >= 1)
    assert len({push.push_id for push in store.pushes}) == len(store.pushes)
    assert sum(push.scores == store.graph.scores for push in store.pushes) == 1
