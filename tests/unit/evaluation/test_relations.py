"""Agreement of two graphs, with every figure worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.errors import GraphError
from gem_ray.evaluation.relations import agreement, edge_fidelity, fidelity_noise, relation_fidelity, traversal_gap
from gem_ray.graph.disgraph import DisGraph
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push

# male, beard, blond: beard acts on male more than male on beard; blond on male about as much as male on blond.
TRUTH = np.array([[0, 0.39, -0.22], [0.69, 0, -0.04], [-0.30, -0.18, 0]])


def test_graph_agrees_with_itself():
    same = agreement(TRUTH, TRUTH)
    assert (same.mean_absolute_difference, same.max_absolute_difference) == (0, 0)
    assert (same.sign_agreement, same.direction_agreement) == (1, 1)


def test_differences_are_over_directed_pairs_without_the_diagonal():
    strength = TRUTH + np.array([[9, 0.1, 0], [0, 9, 0], [0, -0.5, 9]])
    result = agreement(strength, TRUTH)
    assert result.mean_absolute_difference == pytest.approx(0.6 / 6)
    assert result.max_absolute_difference == pytest.approx(0.5)


def test_sign_counts_only_where_the_true_strength_is_clear():
    strength = TRUTH.copy()
    strength[1, 2] = 0.04  # true -.04: too weak to count
    assert agreement(strength, TRUTH).sign_agreement == 1
    strength[0, 1] = -0.39
    assert agreement(strength, TRUTH).sign_agreement == pytest.approx(4 / 5)
    strength[0, 1] = 0
    assert agreement(strength, TRUTH).sign_agreement == pytest.approx(4 / 5)


def test_transposed_graph_has_every_direction_wrong():
    # pairs with an asymmetry over .1: male-beard (.30) and beard-blond (.14); male-blond has .08
    assert agreement(TRUTH.T, TRUTH).direction_agreement == 0
    strength = TRUTH.copy()
    strength[0, 1], strength[1, 0] = 0.69, 0.39
    assert agreement(strength, TRUTH).direction_agreement == 0.5


def test_symmetric_graph_has_no_direction_right():
    assert agreement((TRUTH + TRUTH.T) / 2, TRUTH).direction_agreement == 0


def test_no_pair_that_counts_gives_none():
    nothing = agreement(np.ones((2, 2)), np.zeros((2, 2)))
    assert nothing.mean_absolute_difference == 1
    assert nothing.sign_agreement is None
    assert nothing.direction_agreement is None


def test_unknown_strengths_are_left_out():
    strength = TRUTH.copy()
    strength[0, 1] = np.nan
    result = agreement(strength, TRUTH)
    assert result.mean_absolute_difference == 0
    assert result.direction_agreement == 1
    assert agreement(np.full((3, 3), np.nan), TRUTH).mean_absolute_difference is None


def test_shapes_must_be_equal():
    with pytest.raises(GraphError, match=r"\(2, 2\)"):
        agreement(np.zeros((2, 2)), TRUTH)


def make_push(kind: EvidenceKind, *edges: tuple[str, str, float, float]) -> Push:
    updates = tuple(
        EdgeUpdate(source=source, target=target, strength=s, standard_error=error, num_observations=8)
        for source, target, s, error in edges
    )
    return Push(push_id="t", base_version=0, kind=kind, edges=updates, evidence_id="t.json", step=500)


def make_graph() -> DisGraph:
    return DisGraph.from_strength(("male", "beard", "blond"), TRUTH, np.full((3, 3), 0.1))


@pytest.mark.parametrize(
    ("figure", "kind", "other"),
    [
        (relation_fidelity, EvidenceKind.SAMPLES, EvidenceKind.TRAVERSALS),
        (traversal_gap, EvidenceKind.TRAVERSALS, EvidenceKind.SAMPLES),
    ],
)
def test_gap_is_over_edges_known_on_both_sides(figure, kind, other):
    graph = make_graph()
    edges = (("male", "beard", 0.09, 0.1), ("blond", "male", -0.2, 0.1), ("beard", "male", 0.0, np.inf))
    assert figure(graph) is None
    assert figure(graph.apply(make_push(other, *edges), max_change=1)) is None
    push = make_push(kind, *edges)
    assert figure(graph.apply(push, max_change=1)) == pytest.approx((0.3 + 0.1) / 2)
    assert figure(DisGraph.empty(graph.attributes).apply(push, max_change=1)) is None


def test_fidelity_of_an_edge_is_its_own_gap():
    push = make_push(EvidenceKind.SAMPLES, ("male", "beard", 0.09, 0.1), ("blond", "male", -0.2, 0.1))
    fidelity = edge_fidelity(make_graph().apply(push, max_change=1))
    assert fidelity[0, 1] == pytest.approx(0.3)
    assert fidelity[2, 0] == pytest.approx(0.1)
    assert np.isnan(fidelity).sum() == 7


def test_noise_is_the_gap_of_a_model_that_is_right():
    rng = np.random.default_rng(0)
    assert fidelity_noise(make_graph()) is None
    gaps, noise = [], 0.0
    for _ in range(1000):
        graph = DisGraph.from_strength(("male", "beard"), 0.3 + 0.05 * rng.normal(size=(2, 2)), np.full((2, 2), 0.05))
        push = make_push(EvidenceKind.SAMPLES, ("male", "beard", 0.3 + 0.1 * rng.normal(), 0.1))
        graph = graph.apply(push, max_change=1)
        gaps.append(relation_fidelity(graph))
        noise = fidelity_noise(graph)
    assert noise == pytest.approx(np.mean(gaps), rel=0.1)
