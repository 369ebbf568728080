from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gem_ray.evaluation.ranking import adjusted_p_values, evidence_words, num_found, ranked_pairs
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.relations import relations_from_values
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push

NAMES = ("bald", "beard", "male")
STRENGTH = np.array([[0.0, 0.25, 0.6], [0.04, 0.0, 0.7], [-0.04, 0.3, 0.0]])
ERROR = np.array([[np.inf, 0.05, 0.1], [0.03, np.inf, 0.02], [np.inf, 0.02, np.inf]])


def make_graph(strength: np.ndarray = STRENGTH, error: np.ndarray = ERROR) -> DisGraph:
    return DisGraph.from_strength(NAMES, strength, error)


def push(graph: DisGraph, kind: EvidenceKind, source: str, target: str, strength: float, count: int) -> DisGraph:
    edge = EdgeUpdate(
        source=source, target=target, strength=strength, standard_error=0.02, num_observations=count
    )  # fmt: skip
    return graph.apply(Push(push_id="p", base_version=0, kind=kind, edges=(edge,), evidence_id="e"), max_change=2.0)


def test_pairs_come_strongest_first_with_both_directions_side_by_side():
    pairs = ranked_pairs(make_graph())
    assert [(pair.first.source, pair.first.target) for pair in pairs] == [
        ("beard", "male"),
        ("bald", "male"),
        ("bald", "beard"),
    ]
    assert [(pair.second.source, pair.second.target) for pair in pairs] == [
        ("male", "beard"),
        ("male", "bald"),
        ("beard", "bald"),
    ]


def test_an_interval_is_two_standard_errors_wide_and_stays_in_range():
    edge = ranked_pairs(make_graph())[0].first
    assert (edge.low, edge.high) == (
        pytest.approx(0.7 - 1.96 * 0.02, abs=3e-3),
        pytest.approx(0.7 + 1.96 * 0.02, abs=3e-3),
    )
    wide = ranked_pairs(make_graph(error=np.full((3, 3), 0.5)))[0].first
    assert 0.9 < wide.high < 1.0


def test_an_edge_without_evidence_has_no_interval_and_is_not_called_found():
    edge = ranked_pairs(make_graph())[1].second
    assert (edge.source, edge.target) == ("male", "bald")
    assert edge.low is edge.high is edge.standard_error is edge.adjusted_p is None
    assert edge.may_be_noise
    assert evidence_words(edge) == "none"


def test_an_interval_that_includes_zero_is_always_marked():
    rng = np.random.default_rng(0)
    for _ in range(20):
        strength, error = rng.uniform(-1, 1, (3, 3)), rng.exponential(0.3, (3, 3))
        for pair in ranked_pairs(make_graph(strength, error)):
            for edge in (pair.first, pair.second):
                assert edge.may_be_noise or edge.low > 0 or edge.high < 0


def test_the_false_discovery_rate_is_controlled_over_all_pairs_and_single_intervals_are_not():
    """Twelve independent attributes: 132 intervals exclude 0 one time in twenty, of which hardly any is let through."""
    single = found = runs_with_any = 0
    for seed in range(40):
        values = np.random.default_rng(seed).integers(0, 3, (150, 12))
        relations = relations_from_values(values)
        off = ~np.eye(12, dtype=bool)
        single += (np.abs(relations.strength) > 1.96 * relations.standard_error)[off].sum()
        kept = (adjusted_p_values(relations.strength, relations.standard_error) <= 0.05)[off].sum()
        found, runs_with_any = found + kept, runs_with_any + bool(kept)
    assert 0.03 < single / (40 * 132) < 0.07
    assert runs_with_any / 40 <= 0.15
    assert found < single / 5


def test_strong_relations_among_many_are_found():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 2, (400, 12))
    values[:, 1] = np.where(rng.random(400) < 0.9, values[:, 0], 1 - values[:, 0])
    relations = relations_from_values(values)
    adjusted = adjusted_p_values(relations.strength, relations.standard_error)
    assert adjusted[0, 1] < 0.01
    assert adjusted[1, 0] < 0.01


def test_an_exact_strength_is_certain_and_an_exact_zero_is_none():
    strength = np.array([[0.0, 0.4], [0.0, 0.0]])
    adjusted = adjusted_p_values(strength, np.zeros((2, 2)))
    assert adjusted[0, 1] == 0.0
    assert adjusted[1, 0] == 1.0


def test_evidence_and_its_size_are_named_by_kind():
    graph = push(make_graph(), EvidenceKind.JUDGEMENTS, "beard", "male", 0.7, 24)
    graph = push(graph, EvidenceKind.SCORES, "beard", "male", 0.7, 4480)
    assert evidence_words(ranked_pairs(graph)[0].first) == ("4,480 images, 24 answers")


def test_the_gap_to_the_model_s_own_images_stands_beside_each_edge():
    graph = push(make_graph(), EvidenceKind.SAMPLES, "beard", "male", 0.4, 64)
    first, second = ranked_pairs(graph)[0].first, ranked_pairs(graph)[0].second
    assert first.fidelity == pytest.approx(0.3)
    assert second.fidelity is None


def test_edges_that_are_found_are_counted_among_all():
    assert num_found(ranked_pairs(make_graph())) == (4, 6)
    empty = replace(make_graph(), layers=DisGraph.empty(NAMES).layers, strength=np.zeros((3, 3)))
    assert num_found(ranked_pairs(empty)) == (0, 6)
