"""What the store tells of its past: history, differences, rollback, and the versions that are kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gem_ray.config import GraphConfig
from gem_ray.errors import ConfigError, GraphError, NotKeptError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Refusal
from tests.unit.graph.small_stores import ATTRIBUTES, CONFIG, crash, make_push, open_store, push_many


def test_history_tells_each_change_of_one_direction(journal_kind, tmp_path):
    store = open_store(tmp_path)
    push_many(store, 4)
    store.push(make_push(5, 4, source="bald"))
    store.push(make_push(6, 5, kind=EvidenceKind.TRAVERSALS))
    history = store.history("male", "beard")
    assert [(r.version, r.kind, r.step, r.evidence_id) for r in history] == [
        *((n, EvidenceKind.SCORES, n, f"e{n}.json") for n in (1, 2, 3, 4)),
        (6, EvidenceKind.TRAVERSALS, 6, "e6.json"),
    ]
    graph = store.snapshot(None)
    assert history[3].strength == graph.strength[0, 1]
    assert history[4].strength == graph.shown[0, 1]
    assert history[4].num_observations == 6
    assert [r.measured for r in history] == [make_push(r.version, 0).edges[0].strength for r in history]
    assert store.history("beard", "male") == ()
    with pytest.raises(GraphError, match="moustache"):
        store.history("male", "moustache")


def test_history_tells_what_was_measured_from_what_is_followed(tmp_path):
    store = open_store(tmp_path, replace(CONFIG, max_change=0.25))
    edge = EdgeUpdate(source="male", target="beard", strength=0.9, standard_error=0.1, num_observations=12)
    for number, kind in enumerate((EvidenceKind.JUDGEMENTS, EvidenceKind.SAMPLES, EvidenceKind.SCORES)):
        store.push(make_push(number, number, kind=kind, edges=(edge,)))
    store.rollback("r1", 1)
    facts = [(r.kind, r.strength, r.measured, r.num_observations) for r in store.history("male", "beard")]
    assert facts == [
        (EvidenceKind.JUDGEMENTS, 0.25, 0.9, 12),
        (EvidenceKind.SAMPLES, 0.9, 0.9, 12),  # of the model: shown as it is
        (EvidenceKind.SCORES, 0.5, 0.9, 12),
        (None, 0.25, None, 0),
    ]
    assert np.isnan(store.snapshot(None).sampled).all()


def test_diff_names_the_edges_that_changed(tmp_path):
    store = open_store(tmp_path)
    push_many(store, 6)
    store.push(make_push(7, 6, source="bald"))
    (change,) = store.diff(6, 7)
    assert (change.source, change.target, change.strength_before) == ("bald", "beard", 0)
    assert change.strength_after == store.snapshot(None).strength[2, 1]
    assert store.diff(7, 7) == ()
    store.push(make_push(8, 7, kind=EvidenceKind.SAMPLES, source="bald"))
    (change,) = store.diff(7, 8)
    assert (change.strength_before, change.strength_after) == (change.scored_after, change.scored_before)
    assert np.isnan(change.sampled_before)
    assert change.sampled_after == store.snapshot(None).sampled[2, 1]
    assert np.isnan((change.judged_before, change.judged_after, change.shown_before, change.shown_after)).all()


def test_rollback_is_a_new_version_with_the_old_values(journal_kind, tmp_path):
    store = open_store(tmp_path)
    push_many(store, 6)
    at_two = DisGraph.empty(ATTRIBUTES)
    for number in (1, 2):
        at_two = at_two.apply(make_push(number, number - 1), 1.0)
    reply = store.rollback("r1", 2)
    assert (reply.version, reply.applied) == (7, True)
    assert store.rollback("r1", 2).duplicate
    expected = replace(at_two, version=7).digest()
    assert store.snapshot(None).digest() == expected
    assert store.at(2).digest() == at_two.digest()
    assert store.history("male", "beard")[-1].kind is None
    assert store.push(make_push(8, 7)).version == 8
    crash(store)
    again = open_store(tmp_path)
    assert again.diff(2, 7) == ()
    assert again.snapshot(None).version == 8


def test_versions_that_never_were_or_are_dropped_cannot_be_had(tmp_path):
    store = open_store(tmp_path)
    push_many(store, 30)
    with pytest.raises(GraphError, match=r"version 3 is not kept: there are 15 to 30 \(graph.keep_versions=12\)"):
        store.rollback("r1", 3)
    with pytest.raises(GraphError, match="version 31 is not kept"):
        store.diff(30, 31)
    assert store.diff(18, 30)
    assert len(store.history("male", "beard")) == 15


def test_every_kept_version_can_be_had_as_it_was(tmp_path):
    store = open_store(tmp_path)
    digests = {}
    for number in range(1, 31):
        store.push(make_push(number, number - 1))
        digests[number] = store.snapshot(None).digest()
    assert {version: store.at(version).digest() for version in range(15, 31)} == {v: digests[v] for v in range(15, 31)}
    for version in (3, 31):
        with pytest.raises(NotKeptError, match=f"version {version} is not kept"):
            store.at(version)


def test_storage_stays_bounded(journal_kind, tmp_path):
    store = open_store(tmp_path)
    sizes = []
    for number in range(1, 101):
        store.push(make_push(number, number - 1))
        if number % 25 == 0:
            sizes.append(sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()))
    assert max(sizes) < 1.1 * min(sizes[1:])
    assert len(store._applied) <= CONFIG.keep_versions + CONFIG.snapshot_every_pushes


def test_push_whose_id_is_forgotten_is_refused_as_stale(tmp_path):
    store = open_store(tmp_path)
    push_many(store, 60)
    for number in range(1, 61):
        reply = store.push(make_push(number, number - 1))
        assert reply.duplicate or reply.refusal is Refusal.STALE
    assert store.snapshot(None).version == 60
    with pytest.raises(ConfigError, match=r"keep_versions=10 must be more than graph\.max_staleness=10"):
        GraphConfig(keep_versions=10, max_staleness=10)
