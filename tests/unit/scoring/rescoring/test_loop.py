"""The rescorer's loop: what is scanned, looked at and judged, in which order, and what becomes of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from gem_ray.data.faces import ATTRIBUTES, true_strength
from gem_ray.messages.graph import EvidenceKind
from gem_ray.messages.questions import ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.prompts import PROMPT_VERSION, missing
from gem_ray.scoring.asking.scripted import ScriptedScorer, judge_of
from gem_ray.scoring.rescoring.scores import read_scores
from gem_ray.storage import Storage
from tests.unit.scoring.rescoring.small_rescoring import (
    MemoryStore,
    ScriptedTraversals,
    make_rescoring,
    run_until,
    true_answer,
)


def test_the_scan_publishes_early_and_again_as_it_grows(run: Storage) -> None:
    store = MemoryStore()
    rescoring = make_rescoring(run, store, ScriptedScorer(true_answer))
    run_until(rescoring, lambda: len(store.pushes) >= 3)
    assert [push.scores.num_images for push in store.pushes[:3]] == [128, 200, 250]
    assert all(push.kind is EvidenceKind.SCORES and len(push.edges) == 30 for push in store.pushes[:3])


def test_the_graph_of_a_perfect_scorer_is_close_to_the_truth(run: Storage) -> None:
    store = MemoryStore()
    rescoring = make_rescoring(
        run, store, ScriptedScorer(true_answer), count=3000, initial_images=3000, round_images=750
    )
    run_until(rescoring, lambda: len(rescoring.table.index) == 3000 and store.pushes[-1].scores.num_images == 3000)
    difference = np.abs(store.graph.strength - true_strength())
    assert difference.max() < 0.1
    assert difference[~np.eye(6, dtype=bool)].mean() < 0.025


def test_every_edge_names_evidence_that_can_be_read(run: Storage) -> None:
    store = MemoryStore()
    run_until(make_rescoring(run, store, ScriptedScorer(true_answer)), lambda: len(store.pushes) >= 1)
    push = store.pushes[0]
    evidence = json.loads(run.read_bytes(f"evidence/{push.evidence_id}"))
    assert (evidence["kind"], evidence["model"], evidence["prompt_version"]) == ("scores", "scripted", PROMPT_VERSION)
    assert evidence["scores"]["sha256"] == push.scores.sha256
    assert read_scores(run, push.scores).index.tolist() == list(range(128))
    assert evidence["cost"]["asked"] == 128 * 6


def test_rounds_go_on_with_further_images_until_all_are_scored(run: Storage) -> None:
    store = MemoryStore()
    rescoring = make_rescoring(run, store, ScriptedScorer(true_answer), count=330)
    run_until(rescoring, lambda: rescoring.status().rounds >= 5)
    assert rescoring.table.index.tolist() == list(range(330))
    assert store.graph.scores is not None
    assert store.graph.scores.num_images == 330


def test_traversals_of_a_checkpoint_are_scored_once_and_pushed_with_their_step(run: Storage) -> None:
    store, scorer = MemoryStore(), ScriptedScorer(true_answer)
    source = ScriptedTraversals(500)
    rescoring = make_rescoring(run, store, scorer, count=50, initial_images=50, traversals=source)
    run_until(rescoring, lambda: rescoring.status().rounds >= 4)
    shown = [push for push in store.pushes if push.kind is EvidenceKind.TRAVERSALS]
    assert [push.step for push in shown] == [500]
    assert store.graph.shown[0, 1] < -0.95  # neighbouring positions share a digit
    assert store.graph.shown[2, 1] == pytest.approx(0.0)
    assert np.isfinite(store.graph.shown_standard_error[0, 1])
    evidence = json.loads(run.read_bytes(f"evidence/{shown[0].evidence_id}"))
    assert np.array(evidence["expectations"]).shape == (6, 16, 5, 6)


def test_a_push_that_the_store_refuses_is_shown(run: Storage) -> None:
    store = MemoryStore()
    source = ScriptedTraversals(500)
    source.graph_version = 1

    def overtaken(request: ScoreRequest) -> ScoreAnswer:
        if request.image[11] >= 200:  # while traversals are asked about, the graph moves on
            store.graph = replace(store.graph, version=90)
        return true_answer(request)

    rescoring = make_rescoring(
        run,
        store,
        ScriptedScorer(overtaken),
        count=50,
        traversals=source,
        sample_images=0,
    )
    run_until(rescoring, lambda: rescoring.status().rounds >= 1)
    assert "stale" in rescoring.status().last_error
    assert np.isnan(store.graph.shown).all()


def test_unreadable_answers_never_become_zeros(run: Storage) -> None:
    def half_blind(request: ScoreRequest) -> ScoreAnswer:
        if request.attribute == "beard" and request.image[0] % 2:
            return missing("low_digit_mass", 0.1)
        return true_answer(request)

    store = MemoryStore()
    rescoring = make_rescoring(run, store, ScriptedScorer(half_blind), count=1500, initial_images=1500)
    run_until(rescoring, lambda: store.graph.scores is not None and store.graph.scores.num_images == 1500)
    male, beard = ATTRIBUTES.index("male"), ATTRIBUTES.index("beard")
    assert np.isnan(rescoring.table.expectations[1::2, beard]).all()
    assert abs(store.graph.strength[male, beard] - true_strength()[male, beard]) < 0.1
    edge = next(edge for edge in store.pushes[-1].edges if (edge.source, edge.target) == ("male", "beard"))
    assert edge.num_observations == 750


def test_a_scorer_that_obeys_every_injection_cannot_leave_the_range_or_touch_another_edge(run: Storage) -> None:
    answers = [
        ScoreAnswer(probabilities=(1e9, 0, 0, 0, 0, 0), digit_mass=1e9),
        ScoreAnswer(probabilities=(float("nan"),) * 6, digit_mass=float("nan")),
        ScoreAnswer(probabilities=(0, 0, 0, 0, 0, 1.0), digit_mass=1.0),
        ScoreAnswer(probabilities=(1.0, 0, 0, 0, 0, 0), digit_mass=1.0),
        ScoreAnswer(probabilities=None, digit_mass=0.0, failure="__import__('os').system('true')"),
    ]
    turn = iter(range(10**9))
    store = MemoryStore()
    rescoring = make_rescoring(run, store, ScriptedScorer(lambda request: answers[next(turn) % 5]))
    run_until(rescoring, lambda: len(store.pushes) >= 3)
    assert np.isfinite(store.graph.strength).all()
    assert (np.abs(store.graph.strength) <= 1).all()
    assert np.diag(store.graph.strength).tolist() == [0.0] * 6


def test_samples_of_a_checkpoint_show_its_relations_by_the_statistic_of_the_data(run: Storage) -> None:
    store = MemoryStore()
    rescoring = make_rescoring(
        run, store, ScriptedScorer(true_answer), traversals=ScriptedTraversals(500), sample_images=800
    )
    run_until(rescoring, lambda: rescoring.status().rounds >= 1)
    assert store.graph.sampled_step[0, 1] == 500
    assert np.nanmean(np.abs(store.graph.sampled - true_strength())) < 0.03
    assert np.isnan(store.graph.shown).sum() < 30 + 6  # traversals were asked about too


def test_judgements_of_pairs_move_the_graph_and_keep_their_answers_as_evidence(run: Storage) -> None:
    store = MemoryStore()
    truth = true_strength()
    table = {(a, b): float(truth[i, j]) for i, a in enumerate(ATTRIBUTES) for j, b in enumerate(ATTRIBUTES)}
    scorer = ScriptedScorer(true_answer, judge=judge_of(table, position_bias=0.5))
    rescoring = make_rescoring(run, store, scorer, judgements=True, initial_images=2, count=2)
    run_until(rescoring, lambda: any(push.kind is EvidenceKind.JUDGEMENTS for push in store.pushes))
    push = next(push for push in store.pushes if push.kind is EvidenceKind.JUDGEMENTS)
    assert len(push.edges) == 30
    assert np.nanmean(np.abs(store.graph.judged - true_strength())) < 0.1
    evidence = json.loads(run.read_bytes(f"evidence/{push.evidence_id}"))
    assert {(a["source"], a["target"]) for a in evidence["answers"]} == {(e.source, e.target) for e in push.edges}
