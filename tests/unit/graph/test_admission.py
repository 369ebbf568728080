"""What has not the form of a push is refused by its form: never an exception of the store's, never a change."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from gem_ray.config import GraphConfig, StorageConfig
from gem_ray.graph.actor import GraphStore
from gem_ray.graph.admission import LONGEST_TEXT, fault_of_form
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push, Refusal, ScoresRef
from gem_ray.storage import Storage

ATTRIBUTES = ("male", "beard", "bald")
EDGE = EdgeUpdate(source="male", target="beard", strength=0.5, standard_error=0.1, num_observations=9)
PUSH = Push(push_id="p1", base_version=0, kind=EvidenceKind.SCORES, edges=(EDGE,), evidence_id="e1.json")
SCORES = ScoresRef(uri="scores.parquet", sha256="0" * 64, num_images=3)
MALFORMED = [
    None,
    "push",
    {"push_id": "p1"},
    EDGE,
    replace(PUSH, push_id=7),
    replace(PUSH, push_id=""),
    replace(PUSH, push_id="p" * (LONGEST_TEXT + 1)),
    replace(PUSH, evidence_id=None),
    replace(PUSH, evidence_id="e" * 10**6),
    replace(PUSH, kind="scores"),
    replace(PUSH, base_version=None),
    replace(PUSH, base_version=0.5),
    replace(PUSH, base_version=10**5000),
    replace(PUSH, step="3"),
    replace(PUSH, scores={"uri": "x"}),
    replace(PUSH, scores=replace(SCORES, uri=None)),
    replace(PUSH, scores=replace(SCORES, num_images="3")),
    replace(PUSH, edges=[EDGE]),
    replace(PUSH, edges=(EDGE, None)),
    replace(PUSH, edges=((("male", "beard"), 0.5),)),
    replace(PUSH, edges=(replace(EDGE, source=None),)),
    replace(PUSH, edges=(replace(EDGE, source=["male"]),)),
    replace(PUSH, edges=(replace(EDGE, strength="0.5"),)),
    replace(PUSH, edges=(replace(EDGE, strength=10**400),)),
    replace(PUSH, edges=(replace(EDGE, standard_error=1j),)),
    replace(PUSH, edges=(replace(EDGE, num_observations=9.0),)),
]


@pytest.fixture
def store(tmp_path):
    return GraphStore(Storage(str(tmp_path), StorageConfig()), "run", ATTRIBUTES, GraphConfig())


@pytest.mark.parametrize("push", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_push_is_refused_and_changes_nothing(store, push):
    reply = store.push(push)
    assert (reply.refusal, reply.applied) == (Refusal.MALFORMED, False)
    assert len(reply.detail) < 200
    assert store.snapshot(None).version == 0
    assert store.push(PUSH).applied


@pytest.mark.parametrize(
    "push",
    [
        PUSH,
        replace(PUSH, scores=SCORES, step=np.int64(3), base_version=np.int32(0)),
        replace(PUSH, edges=(replace(EDGE, strength=np.float32(0.5), num_observations=np.int64(9)),)),
        replace(PUSH, edges=(replace(EDGE, strength=1),)),
        replace(PUSH, edges=()),
    ],
)
def test_push_of_numpy_numbers_or_none_at_all_has_the_form_of_one(push):
    assert fault_of_form(push, ATTRIBUTES) == ""


def test_gigantic_push_is_refused_without_being_read(store):
    push = replace(PUSH, edges=(EDGE,) * 5_000_000)
    start = time.perf_counter()
    reply = store.push(push)
    assert reply.refusal is Refusal.MALFORMED
    assert "at most 6" in reply.detail
    assert time.perf_counter() - start < 0.5, "longer than looking at the number of edges takes"


@pytest.mark.parametrize(("operation_id", "version"), [(None, 0), ("", 0), ("x" * 10**6, 0), ("r", "0"), ("r", None)])
def test_malformed_rollback_is_refused(store, operation_id, version):
    assert store.rollback(operation_id, version).refusal is Refusal.MALFORMED
