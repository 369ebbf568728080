"""The policy of staleness: its bound, and that what is evicted could never be admitted again."""

from __future__ import annotations

import pytest

from gem_ray.errors import GraphError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.staleness import Staleness, Verdict
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push, Refusal


@pytest.mark.parametrize(
    ("base", "version", "verdict"),
    [
        (7, 7, Verdict.ADMITTED),
        (4, 7, Verdict.ADMITTED),
        (3, 7, Verdict.STALE),
        (0, 7, Verdict.STALE),
        (8, 7, Verdict.AHEAD),
    ],
)
def test_work_is_admitted_up_to_the_bound(base, version, verdict):
    assert Staleness(3).verdict(base, version) is verdict


def test_no_staleness_admits_the_newest_version_only():
    assert [Staleness(0).verdict(base, 5) for base in (4, 5, 6)] == [Verdict.STALE, Verdict.ADMITTED, Verdict.AHEAD]


def test_evicted_work_would_be_refused_for_ever():
    policy = Staleness(3)
    for base in range(10):
        verdicts = [policy.verdict(base, version) for version in range(30)]
        assert verdicts == [
            *[Verdict.AHEAD] * base,
            *[Verdict.ADMITTED] * 4,
            *[Verdict.STALE] * (26 - base),
        ]


def test_store_and_policy_never_disagree():
    edge = EdgeUpdate(source="male", target="beard", strength=0.1, standard_error=0.1, num_observations=1)
    graph = DisGraph.empty(("male", "beard"))
    for version in range(8):
        for base in range(10):
            push = Push(push_id="p", base_version=base, kind=EvidenceKind.SAMPLES, edges=(edge,), evidence_id="e")
            answer = graph.check(push, Staleness(2))
            admitted = Staleness(2).verdict(base, version) is Verdict.ADMITTED
            assert (answer is None) == admitted
            assert admitted or (answer[0] is Refusal.STALE and f"at {version}" in answer[1])
        graph = graph.restore(graph)


def test_evidence_about_the_data_is_based_on_the_newest_version():
    for kind in (EvidenceKind.SCORES, EvidenceKind.JUDGEMENTS):
        assert Staleness.base_version(kind, None, 40) == 40
        assert Staleness.base_version(kind, 3, 40) == 40


def test_evidence_about_the_model_is_based_on_its_checkpoint():
    for kind in (EvidenceKind.TRAVERSALS, EvidenceKind.SAMPLES):
        assert Staleness.base_version(kind, 3, 40) == 3
        with pytest.raises(GraphError, match="checkpoint"):
            Staleness.base_version(kind, None, 40)


def test_negative_bound_is_refused():
    with pytest.raises(GraphError, match="max_versions=-1"):
        Staleness(-1)
