"""How many workers there is room for, and when a group may grow."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest
import ray.train
from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy, NoopDecision, ResizeDecision
from ray.train.v2._internal.execution.worker_group import WorkerGroupPollStatus
from ray.train.v2._internal.execution.worker_group.poll import WorkerStatus

from gem_ray.config.placement import ROLE
from gem_ray.placement import label_selector
from gem_ray.train.elastic import RoomScalingPolicy, answers, with_room

RESERVED = {"a": {"CPU": 1.0}, "b": {"CPU": 2.0}, "c": {"CPU": 1.0}}
ADDRESSES = {"a": ("10.0.0.1", 1), "b": ("10.0.0.2", 1), "c": ("10.0.0.3", 1)}


def everyone(host: str, port: int) -> bool:
    return True


def look(*reports: object) -> WorkerGroupPollStatus:
    return WorkerGroupPollStatus(
        {rank: WorkerStatus(running=True, training_report=report) for rank, report in enumerate(reports)}
    )


@pytest.fixture
def policy(monkeypatch):
    """A policy for one to four workers, whose parent would always go to the number in ``wanted``."""
    policy = RoomScalingPolicy(ray.train.ScalingConfig(num_workers=(1, 4)))
    policy.wanted = 4

    def decide(self, state, status):
        return ResizeDecision(num_workers=self.wanted, resources_per_worker={"CPU": 1})

    monkeypatch.setattr(ElasticScalingPolicy, "make_decision_for_running_worker_group", decide)
    monkeypatch.setattr(RoomScalingPolicy, "_maybe_send_resource_request", lambda self: None)
    return policy


def test_nodes_that_are_up_stay_and_answer_have_room():
    assert with_room(RESERVED, ADDRESSES, {}, everyone) == RESERVED


def test_a_node_that_is_dead_leaves_or_does_not_answer_has_none():
    live = {node: address for node, address in ADDRESSES.items() if node != "a"}
    assert set(with_room(RESERVED, live, {}, everyone)) == {"b", "c"}
    assert set(with_room(RESERVED, ADDRESSES, {"b": 0}, everyone)) == {"a", "c"}
    assert set(with_room(RESERVED, ADDRESSES, {}, lambda host, port: host != "10.0.0.3")) == {"a", "b"}


def test_a_node_of_another_role_has_no_room_and_any_has_where_no_role_is_asked_for(monkeypatch):
    roles = {"a": "train", "b": "stable", "c": "train"}
    nodes = [
        {
            "NodeID": node,
            "Alive": node != "c",
            "NodeManagerAddress": host,
            "NodeManagerPort": port,
            "Labels": {ROLE: roles[node], "ray.io/node-id": node},
        }
        for node, (host, port) in ADDRESSES.items()
    ]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr("ray._private.state.state.get_draining_nodes", dict)
    monkeypatch.setattr("gem_ray.train.elastic.answers", everyone)

    def room(role: str) -> int:
        scaling = ray.train.ScalingConfig(num_workers=(1, 4), label_selector=label_selector(role))
        return RoomScalingPolicy(scaling)._count_possible_workers(RESERVED)

    assert (room("train"), room("stable"), room("")) == (1, 2, 3)


def test_something_that_listens_answers_and_nothing_does_not():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert answers("127.0.0.1", port)
    assert not answers("127.0.0.1", port)


def test_a_group_grows_right_behind_a_checkpoint_and_not_before(policy):
    two = SimpleNamespace(num_workers=2)
    assert isinstance(policy.make_decision_for_running_worker_group(two, look(None, None)), NoopDecision)
    decision = policy.make_decision_for_running_worker_group(two, look(object(), None))
    assert decision == ResizeDecision(num_workers=4, resources_per_worker={"CPU": 1})


def test_a_group_that_runs_is_never_made_smaller(policy):
    policy.wanted = 1
    two = SimpleNamespace(num_workers=2)
    assert isinstance(policy.make_decision_for_running_worker_group(two, look(object(), object())), NoopDecision)
