"""DisGraph: a frozen value that takes a good push and refuses a bad one by reason."""

from __future__ import annotations

import math
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from gem_ray.errors import GraphError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.staleness import Staleness
from gem_ray.messages.graph import EvidenceKind, Refusal
from tests.unit.graph.small_graphs import ATTRIBUTES, SCORES, make_edge, make_graph, make_push


def test_empty_graph_has_no_strength_and_no_confidence():
    graph = DisGraph.empty(ATTRIBUTES)
    assert graph.version == 0
    assert not graph.strength.any()
    assert not graph.confidence.any()
    assert np.isnan(graph.shown).all()


def test_graph_from_relations_ignores_the_diagonal():
    graph = DisGraph.from_strength(ATTRIBUTES, np.full((3, 3), -0.5), np.full((3, 3), 0.1))
    np.testing.assert_array_equal(np.diag(graph.strength), 0)
    assert graph.weight[0, 1] == 0.5
    assert graph.sign[0, 1] == -1
    np.testing.assert_array_equal(np.diag(graph.confidence), 0)


def test_score_push_changes_one_direction_and_nothing_that_is_shown():
    before = DisGraph.empty(ATTRIBUTES)
    after = before.apply(make_push(step=40, scores=SCORES), max_change=1)
    assert after.version == 1
    assert after.strength[0, 1] == 0.39
    assert np.count_nonzero(after.strength) == 1
    assert after.standard_error[0, 1] == 0.02
    assert after.confidence[0, 1] == pytest.approx(0.3**2 / (0.3**2 + 0.02**2))
    assert (after.changed_version[0, 1], after.changed_step[0, 1], after.evidence[0][1]) == (1, 40, "scan.json")
    assert after.scores == SCORES
    assert np.isnan(after.shown).all()
    assert before.version == 0
    assert not before.strength.any()


def test_traversal_push_changes_what_is_shown_and_nothing_that_is_followed():
    before = DisGraph.empty(ATTRIBUTES).apply(make_push(scores=SCORES), max_change=1)
    push = make_push(make_edge("male", "beard", -0.8), kind=EvidenceKind.TRAVERSALS, step=500, evidence_id="t.json")
    after = before.apply(push, max_change=0.1)
    assert (after.shown[0, 1], after.shown_step[0, 1], after.shown_evidence[0][1]) == (-0.8, 500, "t.json")
    for name in ("strength", "standard_error", "confidence", "changed_version", "changed_step"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    assert after.evidence == before.evidence
    assert after.scores == SCORES


def test_sample_push_changes_what_samples_show_and_nothing_else():
    before = make_graph()
    push = make_push(make_edge("beard", "bald", 0.3, num_observations=64), kind=EvidenceKind.SAMPLES, step=600)
    after = before.apply(push, max_change=0.1)
    assert (after.sampled[1, 2], after.sampled_standard_error[1, 2], after.sampled_step[1, 2]) == (0.3, 0.02, 600)
    assert after.layers[EvidenceKind.SAMPLES].num_observations[1, 2] == 64
    assert np.isnan(after.sampled).sum() == 8
    for kind in set(EvidenceKind) - {EvidenceKind.SAMPLES}:
        assert after.layers[kind] is before.layers[kind]
    assert after.strength.tobytes() == before.strength.tobytes()


def test_judgement_alone_is_followed():
    after = DisGraph.empty(ATTRIBUTES).apply(make_push(kind=EvidenceKind.JUDGEMENTS), max_change=1)
    assert (after.strength[0, 1], after.standard_error[0, 1], after.judged[0, 1]) == (0.39, 0.02, 0.39)
    assert np.isnan(after.scored).all()


def test_scores_and_judgements_are_weighed_by_precision_in_either_order():
    scores = make_push(make_edge(strength=0.4, standard_error=0.1), evidence_id="s.json", step=3)
    judgements = make_push(make_edge(strength=0.8, standard_error=0.2), kind=EvidenceKind.JUDGEMENTS, evidence_id="j")
    for first, second in ((scores, judgements), (judgements, scores)):
        graph = DisGraph.empty(ATTRIBUTES).apply(first, max_change=2).apply(second, max_change=2)
        assert graph.strength[0, 1] == pytest.approx((0.4 * 100 + 0.8 * 25) / 125)
        assert graph.standard_error[0, 1] == pytest.approx(1 / math.sqrt(125))
        assert (graph.scored[0, 1], graph.scored_standard_error[0, 1]) == (0.4, 0.1)
        assert (graph.judged[0, 1], graph.judged_standard_error[0, 1]) == (0.8, 0.2)
        assert (graph.evidence[0][1], graph.changed_version[0, 1]) == (second.evidence_id, 2)
        assert graph.changed_step[0, 1] == (3 if second is scores else -1)


def test_newer_scores_take_the_place_of_older_ones_and_not_of_judgements():
    judgements = make_push(make_edge(strength=0.8, standard_error=0.1), kind=EvidenceKind.JUDGEMENTS)
    graph = DisGraph.empty(ATTRIBUTES).apply(make_push(make_edge(strength=-0.9, standard_error=0.1)), max_change=2)
    graph = graph.apply(judgements, max_change=2)
    graph = graph.apply(make_push(make_edge(strength=0.4, standard_error=0.1)), max_change=2)
    assert graph.strength[0, 1] == pytest.approx(0.6)


def test_no_push_of_any_kind_changes_an_edge_that_it_does_not_name():
    graph = DisGraph.empty(ATTRIBUTES)
    edges = [make_edge(source, target, 0.7) for source in ATTRIBUTES for target in ATTRIBUTES if source != target]
    # Clamped: the strengths are on their way to .7, and must not move on by a push about another edge.
    graph = graph.apply(make_push(*edges), max_change=0.1)
    asked = np.zeros((3, 3), dtype=bool)
    asked[0, 1] = True
    for kind in EvidenceKind:
        after = graph.apply(make_push(make_edge(strength=-1.0), kind=kind), max_change=0.1)
        for name in ("strength", "standard_error", "confidence", "scored", "judged", "shown", "sampled"):
            np.testing.assert_array_equal(getattr(after, name)[~asked], getattr(graph, name)[~asked])
        followed = kind in (EvidenceKind.SCORES, EvidenceKind.JUDGEMENTS)
        assert (after.strength[0, 1] != graph.strength[0, 1]) == followed
        assert abs(after.strength[0, 1] - graph.strength[0, 1]) <= 0.1 + 1e-15


def test_what_was_measured_is_kept_whole_where_the_strength_is_clamped():
    graph = DisGraph.empty(ATTRIBUTES)
    for expected in (0.25, 0.5, 0.6, 0.6):
        graph = graph.apply(make_push(make_edge(strength=0.6)), max_change=0.25)
        assert (graph.strength[0, 1], graph.scored[0, 1]) == (pytest.approx(expected), 0.6)


def test_change_of_one_push_is_clamped():
    graph = DisGraph.from_strength(ATTRIBUTES, np.full((3, 3), 0.5), np.full((3, 3), 0.1))
    after = graph.apply(make_push(make_edge(strength=-1.0), make_edge("beard", "male", 0.6)), max_change=0.25)
    assert after.strength[0, 1] == 0.25
    assert after.strength[1, 0] == 0.6


def test_push_without_scores_keeps_the_last_table():
    graph = DisGraph.empty(ATTRIBUTES).apply(make_push(scores=SCORES), max_change=1)
    assert graph.apply(make_push(), max_change=1).scores == SCORES


@pytest.mark.parametrize(
    ("push", "refusal"),
    [
        (make_push(base_version=0), Refusal.STALE),
        (make_push(base_version=9), Refusal.STALE),
        (make_push(make_edge(strength=math.nan)), Refusal.NOT_FINITE),
        (make_push(make_edge(strength=math.inf)), Refusal.NOT_FINITE),
        (make_push(make_edge(standard_error=math.nan)), Refusal.NOT_FINITE),
        (make_push(make_edge(strength=1.0001)), Refusal.OUT_OF_RANGE),
        (make_push(make_edge(standard_error=-0.1)), Refusal.OUT_OF_RANGE),
        (make_push(make_edge(num_observations=-1)), Refusal.OUT_OF_RANGE),
        (make_push(step=-1), Refusal.OUT_OF_RANGE),
        (make_push(make_edge("male", "male")), Refusal.SELF_LOOP),
        (make_push(make_edge("male", "moustache")), Refusal.UNKNOWN_ATTRIBUTE),
        (make_push(make_edge(), make_edge(strength=0.1)), Refusal.DUPLICATE_EDGE),
        (make_push(edges=()), Refusal.EMPTY),
    ],
)
def test_bad_push_is_refused_with_its_reason(push, refusal):
    graph = replace(DisGraph.empty(ATTRIBUTES), version=3)
    push = push if refusal is Refusal.STALE else replace(push, base_version=3)
    answer = graph.check(push, Staleness(2))
    assert answer is not None
    assert answer[0] is refusal
    assert answer[1]


def test_push_within_the_bound_of_staleness_is_taken():
    graph = replace(DisGraph.empty(ATTRIBUTES), version=3)
    assert graph.check(make_push(base_version=1), Staleness(2)) is None


def test_both_directions_of_a_pair_are_two_edges():
    assert DisGraph.empty(ATTRIBUTES).check(make_push(make_edge(), make_edge("beard", "male")), Staleness(0)) is None


def test_constant_attribute_is_taken_with_no_confidence():
    push = make_push(make_edge(strength=0.0, standard_error=math.inf))
    graph = DisGraph.from_strength(ATTRIBUTES, np.full((3, 3), 0.5), np.full((3, 3), 0.1))
    assert graph.check(push, Staleness(0)) is None
    after = graph.apply(push, max_change=2)
    assert (after.strength[0, 1], after.confidence[0, 1]) == (0, 0)


def test_digest_tells_the_smallest_change():
    graph = DisGraph.from_strength(ATTRIBUTES, np.full((3, 3), 0.5), np.full((3, 3), 0.1))
    nudged = graph.strength.copy()
    nudged[0, 1] = np.nextafter(0.5, 1)
    assert replace(graph, strength=nudged).digest() != graph.digest()
    assert replace(graph, version=1).digest() != graph.digest()


def test_graph_pickles_between_processes():
    assert pickle.loads(pickle.dumps(make_graph())).digest() == make_graph().digest()


def test_graph_cannot_be_changed_in_place():
    graph = make_graph()
    with pytest.raises(FrozenInstanceError):
        graph.version = 5
    with pytest.raises(ValueError, match="read-only"):
        graph.strength[0, 1] = 1


def test_unknown_attribute_is_named():
    with pytest.raises(GraphError, match="moustache"):
        DisGraph.empty(ATTRIBUTES).index("moustache")
