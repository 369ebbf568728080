from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from gem_ray.config import GraphConfig, StorageConfig
from gem_ray.errors import DataError
from gem_ray.evaluation.spending import read_looks, read_spending
from gem_ray.graph.actor import GraphStore
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push
from gem_ray.messages.rescorer import Cost
from gem_ray.storage import Storage

NAMES = ("bald", "beard", "male")


class Run:
    """A run's folder with a store that takes pushes and the evidence behind them."""

    def __init__(self, folder: Path) -> None:
        self.storage = Storage(str(folder), StorageConfig())
        self.store = GraphStore(self.storage, "run", NAMES, GraphConfig(snapshot_every_pushes=3))
        self.number = 0

    def push(
        self,
        kind: EvidenceKind,
        edges: dict[tuple[str, str], float],
        cost: Cost | None = None,
        step: int | None = None,
        name: str = "",
    ) -> None:
        name = name or f"evidence-{self.number}.json"
        record = {} if cost is None else {"cost": asdict(cost)}
        self.storage.write_bytes(f"evidence/{name}", json.dumps(record).encode())
        updates = tuple(
            EdgeUpdate(source=source, target=target, strength=strength, standard_error=0.1, num_observations=64)
            for (source, target), strength in edges.items()
        )
        push = Push(
            push_id=f"push-{self.number}",
            base_version=self.number,
            kind=kind,
            edges=updates,
            evidence_id=name,
            step=step,
        )
        assert self.store.push(push).applied
        self.number += 1


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_costs_are_summed_by_kind_and_shared_among_the_edges_of_a_push(run):
    cost = Cost(asked=60, answered=58, failed=2, stored=4, prompt_tokens=600, cached_tokens=300, seconds=2.0, money=0.5)
    run.push(EvidenceKind.SCORES, {("beard", "male"): 0.6, ("male", "beard"): 0.3}, cost)
    run.push(EvidenceKind.SCORES, {("beard", "male"): 0.7}, cost)
    run.push(EvidenceKind.TRAVERSALS, {("bald", "male"): 0.1}, Cost(asked=12, answered=12), step=100)
    found = read_spending(run.storage, NAMES)
    assert [(entry.kind, entry.pushes, entry.edges) for entry in found.by_kind] == [
        (EvidenceKind.SCORES, 2, 3),
        (EvidenceKind.TRAVERSALS, 1, 1),
    ]
    assert found.by_kind[0].cost == Cost(
        asked=120, answered=116, failed=4, stored=8, prompt_tokens=1200, cached_tokens=600, seconds=4.0, money=1.0
    )
    np.testing.assert_array_equal(found.edge_questions, [[0, 0, 12], [0, 0, 90], [0, 30, 0]])
    assert found.edge_questions.sum() == found.total.asked == 132


def test_evidence_without_a_cost_or_without_a_file_counts_nothing(run):
    run.push(EvidenceKind.SCORES, {("beard", "male"): 0.6})
    run.push(EvidenceKind.SCORES, {("beard", "male"): 0.7}, Cost(asked=9))
    run.storage.delete("evidence/evidence-1.json")
    found = read_spending(run.storage, NAMES)
    assert found.by_kind[0].pushes == 2
    assert found.total == Cost()


def test_evidence_that_is_pushed_again_has_cost_once(run):
    for number in range(2):
        run.push(EvidenceKind.SCORES, {("beard", "male"): 0.6}, Cost(asked=9), name="same.json")
        assert read_spending(run.storage, NAMES).by_kind[0].pushes == number + 1
    found = read_spending(run.storage, NAMES)
    assert (found.total.asked, found.edge_questions.sum()) == (9, 9)


def test_a_run_without_a_graph_has_cost_nothing(tmp_path):
    found = read_spending(Storage(str(tmp_path), StorageConfig()), NAMES)
    assert found.by_kind == ()
    assert found.edge_questions.shape == (3, 3)
    assert read_looks(Storage(str(tmp_path), StorageConfig())) == ()


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"cost": 3}'])
def test_an_evidence_file_of_something_else_is_named(run, content):
    run.push(EvidenceKind.SCORES, {("beard", "male"): 0.6}, Cost(asked=9))
    run.storage.write_bytes("evidence/evidence-0.json", content)
    with pytest.raises(DataError, match=r"evidence-0\.json is no evidence file"):
        read_spending(run.storage, NAMES)


def test_every_look_at_the_model_s_images_is_held_against_the_graph_of_its_time(run):
    run.push(EvidenceKind.SCORES, {("beard", "male"): 0.6})
    run.push(EvidenceKind.SAMPLES, {("beard", "male"): 0.2}, step=100)
    run.push(EvidenceKind.SCORES, {("beard", "male"): 0.8})
    run.push(EvidenceKind.SAMPLES, {("beard", "male"): 0.5}, step=200)
    first, second = read_looks(run.storage)
    assert (first.step, first.gap) == (100, pytest.approx(0.4))
    assert (second.step, second.gap) == (200, pytest.approx(0.3))
    assert first.noise == pytest.approx(np.sqrt(2 / np.pi) * np.hypot(0.1, 0.1))
