"""The rescorer's loop without Ray, Serve or a model: scripted answers, a store in memory, images by number."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gem_ray.config import ScoringConfig, StorageConfig
from gem_ray.data.faces import ATTRIBUTES, sample_attributes, true_strength
from gem_ray.errors import GraphError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.staleness import Staleness
from gem_ray.messages.graph import EvidenceKind, Push, PushReply
from gem_ray.messages.questions import PairRequest, ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.prompts import PROMPT_VERSION, missing
from gem_ray.scoring.asking.scripted import ScriptedScorer, answer_of_value, judge_of
from gem_ray.scoring.choosing.selection import EdgeSignals
from gem_ray.scoring.choosing.signals import signals_of
from gem_ray.scoring.looking.samples import Samples
from gem_ray.scoring.looking.traversals import Traversals
from gem_ray.scoring.rescoring.loop import Rescoring
from gem_ray.scoring.rescoring.scores import read_scores
from gem_ray.storage import Storage

SEED = 11


PAIRS = [(a, b) for a in ATTRIBUTES for b in ATTRIBUTES if a != b]


class NumberedImages:
    """Images 2x2 that carry their number, so that a scripted scorer knows the true attributes."""

    def __init__(self, count: int) -> None:
        self.count = count

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        index = np.arange(start, stop)
        images = np.zeros((stop - start, 2, 2, 3), np.uint8)
        images.reshape(len(images), -1)[:, :4] = index.astype("<u4").view(np.uint8).reshape(-1, 4)
        return index, images


class MemoryStore:
    """The store's rules without its actor."""

    def __init__(self) -> None:
        self.graph = DisGraph.empty(ATTRIBUTES)
        self.pushes: list[Push] = []
        self.applied: dict[str, int] = {}
        self.fail_next = 0

    def snapshot(self, newer_than: int | None, deadline_s: float) -> DisGraph:
        return self.graph

    def push(self, push: Push, deadline_s: float) -> PushReply:
        if self.fail_next:
            self.fail_next -= 1
            raise GraphError("the store is away")
        if push.push_id in self.applied:
            return PushReply(version=self.graph.version, applied=True, duplicate=True)
        refusal = self.graph.check(push, Staleness(50))
        if refusal:
            return PushReply(version=self.graph.version, applied=False, refusal=refusal[0], detail=refusal[1])
        self.graph = self.graph.apply(push, max_change=2.0)
        self.applied[push.push_id] = self.graph.version
        self.pushes.append(push)
        return PushReply(version=self.graph.version, applied=True)


class ScriptedTraversals:
    """Traversals whose pictures carry node and position; the scripted scorer lets node 0 move attributes 0 and 1."""

    def __init__(self, step: int | None) -> None:
        self.step = step
        self.graph_version = 0

    def newest_step(self) -> int | None:
        return self.step

    def draw(self, images: np.ndarray, nodes: Sequence[int] | None = None) -> Traversals | None:
        def node(i: int) -> np.ndarray:
            pictures = np.zeros((len(images), 5, 2, 2, 3), np.uint8)
            pictures[:, :, 0, 0, 0] = np.arange(len(images))[:, None]
            pictures[..., 1, 1, 2] = 200 + i
            pictures[..., 1, 1, 1] = np.arange(5)[None, :]
            return pictures

        assert self.step is not None
        chosen = range(len(ATTRIBUTES)) if nodes is None else nodes
        positions = np.tile(np.linspace(-2.0, 2.0, 5), (len(chosen), 1))
        return Traversals(self.step, self.graph_version, positions, (node(i) for i in chosen))


class ScriptedSamples:
    """Random images of a model whose attributes are those of the data, numbered from a million."""

    def __init__(self, traversals: ScriptedTraversals) -> None:
        self.of = traversals

    def draw(self, num_images: int, seed: int) -> Samples | None:
        assert self.of.step is not None
        _, images = NumberedImages(10**7).read(10**6 + 1_000 * seed, 10**6 + 1_000 * seed + num_images)
        return Samples(self.of.step, self.of.graph_version, images)


def graph_alone(graph: DisGraph, order_gap: np.ndarray) -> dict[EvidenceKind, EdgeSignals]:
    return {kind: signals_of(graph, kind) for kind in EvidenceKind}


def true_answer(request: ScoreRequest) -> ScoreAnswer:
    """What a perfect scorer would say."""
    attribute = ATTRIBUTES.index(request.attribute)
    if request.image[11] >= 200:
        node, position = request.image[11] - 200, request.image[10]
        moves = {0: 1.0, 1: -1.0}.get(attribute, 0.0) if node == 0 else float(node == attribute)
        return answer_of_value(0.5 + moves * (position - 2) / 4)
    number = int.from_bytes(request.image[:4], "little")
    return answer_of_value(sample_attributes(SEED, number)[attribute])


def make_rescoring(
    run: Storage,
    store: MemoryStore,
    scorer: ScriptedScorer,
    *,
    count: int = 400,
    traversals: ScriptedTraversals | None = None,
    clock: Callable[[], float] = time.monotonic,
    **options: Any,
) -> Rescoring:
    settings = {"initial_images": 200, "round_images": 50, "round_every_s": 0.0, "max_in_flight": 3} | options
    traversals = traversals or ScriptedTraversals(None)

    async def no_sleep(seconds: float) -> None:
        await asyncio.sleep(0)

    return Rescoring(
        ScoringConfig(**settings),
        run,
        ATTRIBUTES,
        Staleness(50),
        scorer=scorer,
        store=store,
        images=NumberedImages(count),
        traversals=traversals,
        samples=ScriptedSamples(traversals),
        signals=graph_alone,
        model="scripted",
        sleep=no_sleep,
        clock=clock,
    )


def run_until(rescoring: Rescoring, condition: Callable[[], bool]) -> None:
    async def drive() -> None:
        task = asyncio.create_task(rescoring.run())
        for _ in range(20_000):
            if condition() or task.done():
                break
            await asyncio.sleep(0.001)
        if task.done():
            task.result()
        task.cancel()

    asyncio.run(drive())
    assert condition()


@pytest.fixture
def run(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path), StorageConfig())


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


def test_a_look_at_a_checkpoint_of_a_graph_long_gone_is_given_up_before_it_costs_anything(run: Storage) -> None:
    store = MemoryStore()
    store.graph = replace(store.graph, version=90)
    scorer = ScriptedScorer(true_answer)
    rescoring = make_rescoring(run, store, scorer, count=50, traversals=ScriptedTraversals(500))
    run_until(rescoring, lambda: rescoring.status().rounds >= 2)
    assert rescoring.status().evicted >= 2  # samples and traversals
    assert len(scorer.asked) == 50 * 6
    assert np.isnan(store.graph.shown).all()


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
