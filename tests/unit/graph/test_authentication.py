"""Only who can read the run's key changes its graph; what a stranger sends is refused, whatever it is."""

from __future__ import annotations

import pickle
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from gem_ray.config import GraphConfig, StorageConfig
from gem_ray.errors import GraphError
from gem_ray.graph.actor import GraphStore
from gem_ray.graph.authentication import ensure_key, fingerprint, read_key, same, sign_push, sign_rollback
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push, Refusal
from gem_ray.storage import Storage

ATTRIBUTES = ("male", "beard", "bald")
EDGE = EdgeUpdate(source="male", target="beard", strength=0.5, standard_error=0.1, num_observations=9)
PUSH = Push(push_id="p1", base_version=0, kind=EvidenceKind.SCORES, edges=(EDGE,), evidence_id="e1.json", step=3)


@pytest.fixture
def run(tmp_path):
    return Storage(str(tmp_path), StorageConfig())


@pytest.fixture
def key(run):
    return ensure_key(run.child("graph"))


@pytest.fixture
def store(run, key):
    return GraphStore(run, "run", ATTRIBUTES, GraphConfig(), authenticated=True)


def test_key_is_made_once_and_only_its_owner_can_read_it(run, key):
    graph = run.child("graph")
    assert len(key) == 32
    assert ensure_key(graph) == read_key(graph) == key
    assert stat.S_IMODE((graph.local_path / "key").stat().st_mode) == 0o600


def test_racing_makers_agree_on_one_key(run):
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: ensure_key(run.child("graph")), range(16)))
    assert len(keys) == 1


@pytest.mark.parametrize("content", [b"", b"zz" * 32, b"00" * 31, b"00" * 33, b"\xff\xfe"])
def test_what_is_no_key_is_named_without_being_shown(run, content):
    graph = run.child("graph")
    graph.write_bytes("key", content)
    with pytest.raises(GraphError, match="does not hold 32 bytes") as raised:
        read_key(graph)
    assert content == b"" or content.decode("latin-1") not in str(raised.value)


def test_signed_push_is_applied(store, key):
    assert store.push(PUSH, sign_push(key, "run", PUSH)).applied


def test_push_that_was_pickled_on_the_way_still_fits_its_signature(store, key):
    odd = replace(
        PUSH,
        base_version=np.int64(0),
        edges=(replace(EDGE, strength=np.float32(0.1), standard_error=np.inf, num_observations=np.int32(4)),),
    )
    assert store.push(pickle.loads(pickle.dumps(odd)), sign_push(key, "run", odd)).applied


@pytest.mark.parametrize(
    "changed",
    [
        replace(PUSH, push_id="p2"),
        replace(PUSH, base_version=-1),
        replace(PUSH, kind=EvidenceKind.JUDGEMENTS),
        replace(PUSH, edges=(replace(EDGE, strength=-0.5),)),
        replace(PUSH, edges=(replace(EDGE, standard_error=0.0),)),
        replace(PUSH, edges=(replace(EDGE, target="bald"),)),
        replace(PUSH, evidence_id="e2.json"),
        replace(PUSH, step=None),
    ],
)
def test_signature_of_another_content_is_refused(store, key, changed):
    reply = store.push(changed, sign_push(key, "run", PUSH))
    assert (reply.refusal, reply.applied) == (Refusal.UNAUTHORISED, False)
    assert store.snapshot(None).version == 0


@pytest.mark.parametrize("signature", ["", "0" * 64, None, b"", 7, "\N{SNOWMAN}"])
def test_push_without_a_right_signature_is_refused(store, signature):
    assert store.push(PUSH, signature).refusal is Refusal.UNAUTHORISED


def test_signature_for_another_run_or_by_another_key_is_refused(store, key):
    for signature in (sign_push(key, "other", PUSH), sign_push(bytes(32), "run", PUSH)):
        assert store.push(PUSH, signature).refusal is Refusal.UNAUTHORISED


def test_unsigned_rollback_is_refused_and_a_signed_one_is_not(store, key):
    store.push(PUSH, sign_push(key, "run", PUSH))
    assert store.rollback("back", 0).refusal is Refusal.UNAUTHORISED
    assert store.rollback("back", 0, sign_rollback(key, "run", "back", 1)).refusal is Refusal.UNAUTHORISED
    assert store.snapshot(None).strength[0, 1] == 0.5
    assert store.rollback("back", 0, sign_rollback(key, "run", "back", 0)).applied
    assert store.snapshot(None).strength[0, 1] == 0


def test_signature_of_a_push_is_none_of_a_rollback(key):
    assert sign_push(key, "run", PUSH) != sign_rollback(key, "run", PUSH.push_id, 0)


def test_refused_id_is_not_used_up(store, key):
    store.push(PUSH, "")
    assert store.push(PUSH, sign_push(key, "run", PUSH)).applied


def test_store_without_its_key_says_so_and_takes_nothing(run, store, key):
    run.child("graph").delete("key")
    with pytest.raises(GraphError, match="there is no key"):
        store.push(PUSH, sign_push(key, "run", PUSH))


def test_settings_show_the_key_only_by_its_fingerprint(store, key):
    settings = store.describe().settings
    assert fingerprint(key) in settings
    assert key.hex() not in settings


def test_comparison_takes_equal_text_only():
    assert same("ab", "ab")
    assert not same("ab", "ac")
    assert not same("a", "ab")
