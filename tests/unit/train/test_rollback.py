"""A rollback of a run that is not up, and what it refuses."""

from __future__ import annotations

import fcntl
import os
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from gem_ray.config import GemConfig, GraphConfig, RunConfig, StorageConfig
from gem_ray.errors import ConfigError, DataError, GraphError, NotKeptError
from gem_ray.evaluation.stored_graph import newest_graph
from gem_ray.graph.actor import GraphStore
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push, PushReply, Refusal
from gem_ray.storage import Storage
from gem_ray.train.rollback import roll_back
from gem_ray.train.run_lock import LOCK, run_lock

NAMES = ("bald", "beard", "male")


@pytest.fixture
def run(tmp_path):
    run = Storage(str(tmp_path / "small"), StorageConfig())
    store = GraphStore(run, "small", NAMES, GraphConfig(snapshot_every_pushes=2, max_change=1.0))
    for number in range(3):
        edge = EdgeUpdate(
            source="beard",
            target="male",
            strength=(number + 1) / 10,
            standard_error=0.1 / 10**number,
            num_observations=9,
        )
        push = Push(push_id=f"p{number}", base_version=number, kind=EvidenceKind.SCORES, edges=(edge,), evidence_id="e")
        assert store.push(push).applied
    store.close()
    return run


@pytest.fixture
def config(run):
    return GemConfig(run=RunConfig(uri=str(run.local_path.parent), name="small"))


def test_the_newest_version_is_then_as_the_earlier_one_was(run, config):
    assert newest_graph(run).strength[1, 2] == 0.3
    assert roll_back(config, run, 1).version == 4
    graph = newest_graph(run)
    assert (graph.version, graph.strength[1, 2]) == (4, 0.1)


def test_a_rollback_is_itself_undone_alike(run, config):
    roll_back(config, run, 1)
    assert roll_back(config, run, 3).version == 5
    assert newest_graph(run).strength[1, 2] == 0.3


def test_version_that_is_not_kept_is_refused_and_nothing_changes(run, config):
    with pytest.raises(NotKeptError, match="version 9 is not kept: there are 0 to 3"):
        roll_back(config, run, 9)
    assert newest_graph(run).version == 3


def test_folder_without_a_graph_is_no_run(tmp_path, config):
    with pytest.raises(DataError, match="holds no graph"):
        roll_back(config, Storage(str(tmp_path / "nothing"), StorageConfig()), 0)


def test_what_the_store_of_a_run_that_is_up_refuses_is_an_error_and_no_success(run, config, monkeypatch):
    refused = PushReply(version=3, applied=False, refusal=Refusal.UNAUTHORISED, detail="another key")
    store = SimpleNamespace(rollback=lambda version: refused)
    monkeypatch.setattr("gem_ray.train.rollback.running_ray", lambda config: nullcontext())
    monkeypatch.setattr("gem_ray.train.rollback.connect_store", lambda name, storage: store)
    with run_lock(run), pytest.raises(GraphError, match="refused to go back to version 1: unauthorised: another key"):
        roll_back(config, run, 1)


def test_run_that_is_up_is_asked_through_its_cluster(run, config, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    holder = os.open(run.local_path / LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)
    try:
        with pytest.raises(ConfigError, match=r"no Ray is up at '127\.0\.0\.1:1'"):
            roll_back(config, run, 1)
    finally:
        os.close(holder)
    assert newest_graph(run).version == 3
