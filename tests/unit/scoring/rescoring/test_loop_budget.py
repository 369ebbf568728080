"""The rescorer's loop within a budget of questions, and what each piece of evidence cost."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gem_ray.messages.graph import EvidenceKind
from gem_ray.scoring.asking.scripted import ScriptedScorer
from gem_ray.storage import Storage
from tests.unit.scoring.rescoring.small_rescoring import (
    MemoryStore,
    ScriptedTraversals,
    make_rescoring,
    run_until,
    true_answer,
)


def test_a_look_at_a_checkpoint_of_a_graph_long_gone_is_given_up_before_it_costs_anything(run: Storage) -> None:
    store = MemoryStore()
    store.graph = replace(store.graph, version=90)
    scorer = ScriptedScorer(true_answer)
    rescoring = make_rescoring(run, store, scorer, count=50, traversals=ScriptedTraversals(500))
    run_until(rescoring, lambda: rescoring.status().rounds >= 2)
    assert rescoring.status().evicted >= 2  # samples and traversals
    assert len(scorer.asked) == 50 * 6
    assert np.isnan(store.graph.shown).all()


def test_rounds_keep_to_the_budget_of_questions(run: Storage) -> None:
    now = [0.0]
    scorer = ScriptedScorer(true_answer)
    rescoring = make_rescoring(run, MemoryStore(), scorer, count=100_000, questions_per_minute=60, clock=lambda: now[0])

    def a_second_passes() -> bool:
        now[0] += 1.0
        return now[0] >= 600 and rescoring.status().rounds >= 3

    run_until(rescoring, a_second_passes)
    assert 60 <= len(scorer.asked) - 200 * 6 <= 60 + now[0]


def test_within_a_budget_fewer_images_of_the_model_are_looked_at_and_the_evidence_says_how_many(run: Storage) -> None:
    store = MemoryStore()
    rescoring = make_rescoring(
        run, store, ScriptedScorer(true_answer), traversals=ScriptedTraversals(500), questions_per_minute=300
    )
    run_until(rescoring, lambda: rescoring.status().rounds >= 1)
    observations = {push.kind: {edge.num_observations for edge in push.edges} for push in store.pushes}
    assert observations[EvidenceKind.SAMPLES] == {32}
    assert observations[EvidenceKind.TRAVERSALS] == {10}
    assert rescoring.status().cost.asked <= 200 * 6 + 300


def test_a_budget_too_small_for_a_look_at_the_model_is_warned_of_once(run: Storage, caplog: Any) -> None:
    rescoring = make_rescoring(
        run, MemoryStore(), ScriptedScorer(true_answer), traversals=ScriptedTraversals(500), questions_per_minute=60
    )
    run_until(rescoring, lambda: rescoring.status().rounds >= 3)
    assert caplog.text.count("scoring.questions_per_minute=60 is too little to look at the model's own images") == 1


def test_what_questions_cost_is_in_the_status(run: Storage) -> None:
    scorer = ScriptedScorer(lambda request: replace(true_answer(request), prompt_tokens=80, cached_tokens=64))
    rescoring = make_rescoring(run, MemoryStore(), scorer, count=50, price_per_million_tokens=2.0)
    run_until(rescoring, lambda: rescoring.status().rounds >= 1)
    status = rescoring.status()
    assert (status.cost.asked, status.cost.answered, status.cost.under_way) == (300, 300, 0)
    assert (status.cost.prompt_tokens, status.cost.cached_tokens) == (300 * 80, 300 * 64)
    assert status.cost.money == pytest.approx(300 * 80 * 2e-6)
    assert status.useful_changes > 0


def test_no_question_is_paid_by_two_pieces_of_evidence(run: Storage) -> None:
    store = MemoryStore()
    rescoring = make_rescoring(run, store, ScriptedScorer(true_answer), traversals=ScriptedTraversals(500))
    kinds = set(EvidenceKind) - {EvidenceKind.JUDGEMENTS}
    run_until(rescoring, lambda: kinds <= {push.kind for push in store.pushes} and rescoring.status().rounds >= 2)
    paid = [json.loads(run.read_bytes(name))["cost"] for name in run.list("evidence")]
    assert sum(cost["asked"] for cost in paid) <= rescoring.status().cost.asked
    assert all(cost["asked"] > 0 for cost in paid)
