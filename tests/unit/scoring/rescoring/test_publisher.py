"""Which changes count as useful, and that a push holds only the edges that were asked about."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from gem_ray.config import StorageConfig
from gem_ray.graph.disgraph import DisGraph
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push, PushReply
from gem_ray.messages.rescorer import Cost
from gem_ray.scoring.looking.samples import Samples
from gem_ray.scoring.rescoring.publisher import Publisher, num_useful
from gem_ray.storage import Storage

ATTRIBUTES = ("a", "b", "c")


class OneStore:
    """Applies whatever comes."""

    def __init__(self) -> None:
        self.graph = DisGraph.empty(ATTRIBUTES)
        self.pushes: list[Push] = []

    def snapshot(self, newer_than: int | None, deadline_s: float) -> DisGraph:
        return self.graph

    def push(self, push: Push, deadline_s: float) -> PushReply:
        self.pushes.append(push)
        self.graph = self.graph.apply(push, max_change=2.0)
        return PushReply(version=self.graph.version, applied=True)


def edge(source: str, target: str, strength: float, error: float = 0.1) -> EdgeUpdate:
    return EdgeUpdate(source=source, target=target, strength=strength, standard_error=error, num_observations=10)


def push_of(*edges: EdgeUpdate, kind: EvidenceKind = EvidenceKind.SCORES) -> Push:
    return Push(push_id="p", base_version=0, kind=kind, edges=edges, evidence_id="e.json")


@pytest.fixture
def run(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path), StorageConfig())


def test_a_change_is_useful_where_it_exceeds_its_own_error_or_says_something_for_the_first_time() -> None:
    before = DisGraph.empty(ATTRIBUTES).apply(push_of(edge("a", "b", 0.5), edge("b", "a", 0.5)), max_change=2.0)
    assert num_useful(before, push_of(edge("a", "b", 0.65), edge("b", "a", 0.55))) == 1
    assert num_useful(before, push_of(edge("c", "a", 0.0))) == 1
    assert num_useful(before, push_of(edge("a", "b", 0.5), kind=EvidenceKind.JUDGEMENTS)) == 1


def test_a_look_at_some_attributes_pushes_the_edges_among_them_only(run: Storage) -> None:
    store, rng = OneStore(), np.random.default_rng(0)
    publisher = Publisher(run, store, ATTRIBUTES, "m", "expected_table")
    probabilities = np.full((40, 3, 6), np.nan)
    probabilities[:, [0, 2]] = rng.dirichlet(np.ones(6), (40, 2))
    drawn = Samples(7, 0, np.zeros((40, 2, 2, 3), np.uint8))
    cost = Cost(asked=80, answered=80, prompt_tokens=5_600, money=0.01)
    asyncio.run(publisher.publish_samples(drawn, probabilities, [(0, 2), (2, 0)], cost))
    (push,) = store.pushes
    assert {(e.source, e.target) for e in push.edges} == {("a", "c"), ("c", "a")}
    assert (push.kind, push.step, push.edges[0].num_observations) == (EvidenceKind.SAMPLES, 7, 40)
    evidence = json.loads(run.read_bytes(f"evidence/{push.evidence_id}"))
    assert (evidence["cost"]["asked"], evidence["cost"]["money"]) == (80, 0.01)


def test_the_same_answers_have_the_same_id_whatever_they_cost(run: Storage) -> None:
    store = OneStore()
    publisher = Publisher(run, store, ATTRIBUTES, "m", "expected_table")
    probabilities = np.random.default_rng(1).dirichlet(np.ones(6), (20, 3))
    drawn = Samples(7, 0, np.zeros((20, 2, 2, 3), np.uint8))
    for cost in (Cost(asked=60), Cost(stored=60)):
        asyncio.run(publisher.publish_samples(drawn, probabilities, [(0, 1)], cost))
    assert store.pushes[0].push_id == store.pushes[1].push_id
    evidence = json.loads(run.read_bytes(f"evidence/{store.pushes[1].evidence_id}"))
    assert evidence["cost"]["asked"] == 60, "what they first cost stays"


def test_nothing_is_pushed_where_nothing_was_found(run: Storage) -> None:
    store = OneStore()
    publisher = Publisher(run, store, ATTRIBUTES, "m", "expected_table")
    asyncio.run(publisher.publish_judgements([], [], Cost()))
    assert store.pushes == []


def test_an_edge_about_which_nothing_is_known_is_no_change_and_is_not_shown_as_zero(run: Storage) -> None:
    nothing = edge("a", "b", 0.0, error=np.inf)
    assert num_useful(DisGraph.empty(ATTRIBUTES), push_of(nothing)) == 0
    store = OneStore()
    publisher = Publisher(run, store, ATTRIBUTES, "m", "expected_table")
    probabilities = np.random.default_rng(2).dirichlet(np.ones(6), (30, 3))
    probabilities[:, 2] = np.eye(6)[0]  # c is absent from every image
    drawn = Samples(7, 0, np.zeros((30, 2, 2, 3), np.uint8))
    asyncio.run(publisher.publish_samples(drawn, probabilities, [(0, 1), (0, 2), (2, 1)], Cost()))
    assert [(e.source, e.target) for e in store.pushes[0].edges] == [("a", "b")]
    assert np.isnan(store.graph.sampled[0, 2])
