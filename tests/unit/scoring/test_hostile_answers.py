"""Answers that are none, too many or too few, and pushes that no store may take: not a bit of the graph changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gem_ray.config import StorageConfig
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push, Refusal
from gem_ray.messages.questions import Request, ScoreAnswer
from gem_ray.scoring.asking.prompts import missing
from gem_ray.scoring.asking.scripted import (
    ScriptedScorer,
    answer_of_value,
    hostile_answers,
)
from gem_ray.storage import Storage
from tests.unit.scoring.small_harness import HONEST, ActorStore, OrderingImages, edge, faults, harness, scored


@pytest.mark.parametrize("answer", hostile_answers(), ids=str)
def test_an_answer_that_is_no_distribution_changes_nothing(answer: ScoreAnswer, tmp_path: Path) -> None:
    parts = harness(tmp_path, HONEST, lambda request: answer)
    before = parts.store.graph
    asyncio.run(parts.gatherer.judge([(0, 1)]))
    assert parts.store.graph.digest() == before.digest(), "a judgement was made of nothing"
    asyncio.run(parts.gatherer.look_at_samples(7, [0, 1], OrderingImages.count))
    cost, after = parts.asker.cost, parts.store.graph
    assert (cost.failed, cost.answered) == (4 + 2 * OrderingImages.count, 0)
    assert faults(before, after, asked={(0, 1), (1, 0)}) == []
    assert np.array_equal(after.strength, before.strength)
    assert np.isinf(after.sampled_standard_error).all(), "something is known from no answer"


@pytest.mark.parametrize("bad", hostile_answers(), ids=str)
def test_one_bad_answer_of_four_makes_no_judgement(bad: ScoreAnswer, tmp_path: Path) -> None:
    turn = iter([answer_of_value(1.0)] * 3 + [bad] + [answer_of_value(1.0)] * 99)
    parts = harness(tmp_path, HONEST, lambda request: next(turn))
    before = parts.store.graph.digest()
    asyncio.run(parts.gatherer.judge([(0, 1)]))
    assert parts.store.graph.digest() == before
    asyncio.run(parts.gatherer.judge([(0, 1)]))
    assert parts.store.graph.judged[0, 1] == pytest.approx(1.0), "control: asked again it is answered, and counts"


@pytest.mark.parametrize("surplus", [-1, 1, 3])
def test_too_many_or_too_few_answers_are_taken_for_none(surplus: int, tmp_path: Path) -> None:
    parts = harness(tmp_path, HONEST)
    good, tries = ScriptedScorer(lambda request: answer_of_value(1.0)), []

    async def score(requests: Sequence[Request]) -> list[ScoreAnswer]:
        tries.append(len(requests))
        answers = await good.score(requests)
        if len(tries) > 3:
            return answers
        return answers[:surplus] if surplus < 0 else answers + [answer_of_value(0.0)] * surplus

    parts.asker._remembering._scorer.score = score  # type: ignore[method-assign]
    asyncio.run(parts.gatherer.judge([(0, 1)]))
    assert tries == [4] * 4
    assert parts.store.graph.judged[0, 1] == pytest.approx(1.0)
    assert parts.asker.cost.asked == 4


def test_missing_answers_are_never_an_edge(tmp_path: Path) -> None:
    parts = harness(tmp_path, HONEST, lambda request: missing("low_digit_mass", 0.1))
    before = parts.store.graph.digest()
    asyncio.run(parts.gatherer.judge([(0, 1), (1, 0)]))
    assert parts.store.graph.digest() == before


HOSTILE_EDGES = [
    ((edge(strength=float("nan")),), Refusal.NOT_FINITE),
    ((edge(strength=float("inf")),), Refusal.NOT_FINITE),
    ((edge(standard_error=float("nan")),), Refusal.NOT_FINITE),
    ((edge(strength=1e9),), Refusal.OUT_OF_RANGE),
    ((edge(strength=-1.0000001),), Refusal.OUT_OF_RANGE),
    ((edge(standard_error=-1.0),), Refusal.OUT_OF_RANGE),
    ((edge(num_observations=-1),), Refusal.OUT_OF_RANGE),
    ((edge(target="male"),), Refusal.SELF_LOOP),
    ((edge(source="admin"),), Refusal.UNKNOWN_ATTRIBUTE),
    ((edge(target="beard "),), Refusal.UNKNOWN_ATTRIBUTE),
    ((edge(), edge(strength=1.0)), Refusal.DUPLICATE_EDGE),
    ((edge(target="bald"), edge(strength=1e9)), Refusal.OUT_OF_RANGE),
    ((), Refusal.EMPTY),
]


@pytest.mark.parametrize("kind", EvidenceKind)
@pytest.mark.parametrize(("edges", "refusal"), HOSTILE_EDGES, ids=lambda value: getattr(value, "value", ""))
def test_a_refused_push_leaves_every_bit_as_it_was(
    edges: tuple[EdgeUpdate, ...], refusal: Refusal, kind: EvidenceKind, tmp_path: Path
) -> None:
    store = ActorStore(Storage(str(tmp_path), StorageConfig()), HONEST)
    store.push(scored(HONEST), 1.0)
    before = store.graph.digest()
    push = Push(push_id="hostile", base_version=1, kind=kind, edges=edges, evidence_id="x.json", step=7)
    reply = store.push(push, 1.0)
    assert (reply.applied, reply.refusal) == (False, refusal)
    assert store.graph.digest() == before
    assert store.reloaded().digest() == before
    assert store.push(replace(push, edges=(edge(),)), 1.0).applied, "control: the id of a refused push is not used up"
