"""Training follows the DisGraph without waiting for it, all ranks at the same step."""

import json
import threading
import time

import numpy as np
import pytest
import torch
from ray.exceptions import RayTaskError

from gem_ray.errors import GraphError, ScorerError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.train.relation_feed import RelationFeed, RelationPoller, Relations, standardize, without_scores

CPU = torch.device("cpu")
ATTRIBUTES = ("bangs", "bald", "male")


def make_relations(strength=0.5):
    matrix = np.full((3, 3), strength)
    np.fill_diagonal(matrix, 0.0)
    graph = DisGraph.from_strength(ATTRIBUTES, matrix, np.full((3, 3), 0.01))
    return Relations(graph, np.array([4, 9]), np.array([[1.0, -1.0, np.nan], [-1.0, 1.0, np.nan]], np.float32))


def wait_until(condition, timeout_s=5.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.01)


def make_poller(fetch):
    return RelationPoller(fetch, lambda: None, version=0, poll_every_s=0.01)


def test_scores_become_mean_zero_and_variance_one_and_missing_answers_stay_missing():
    scores = np.array([[0.0, 2.0, 5.0], [4.0, np.nan, 5.0], [2.0, 4.0, 5.0]])
    targets = standardize(scores)
    assert targets[:, 0].mean() == pytest.approx(0, abs=1e-6)
    assert targets[:, 0].std() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(targets[:, 1], [-1.0, np.nan, 1.0], rtol=1e-6)


def test_a_constant_attribute_gives_no_target():
    assert np.isnan(standardize(np.array([[5.0], [5.0], [5.0]]))).all()


def test_relations_travel_between_ranks_unchanged():
    before = make_relations()
    after = Relations.from_bytes(before.to_bytes())
    assert after.graph.digest() == before.graph.digest()
    np.testing.assert_array_equal(after.index, before.index)
    np.testing.assert_array_equal(after.targets, before.targets)


def test_the_poller_hands_over_newer_relations_once():
    poller = make_poller(lambda newer_than: make_relations() if newer_than == 0 else None)
    try:
        found = []
        wait_until(lambda: found.append(poller.take()) or found[-1] is not None)
        assert poller.take() is None
    finally:
        poller.close()


def test_an_absent_store_is_seen_as_silence_and_found_again():
    absent = threading.Event()
    absent.set()

    def fetch(newer_than):
        if absent.is_set():
            raise GraphError("the store does not answer")
        return make_relations()

    poller = make_poller(fetch)
    try:
        wait_until(lambda: poller.last_error)
        silence = poller.silence_s
        time.sleep(0.05)
        assert poller.silence_s > silence
        absent.clear()
        wait_until(lambda: poller.take() is not None)
        assert poller.silence_s < 0.5
    finally:
        poller.close()


def test_an_error_in_the_store_that_is_not_ours_is_shown_and_outlived():
    answers = threading.Event()

    def fetch(newer_than):
        if not answers.is_set():
            raise RayTaskError("snapshot", "OSError: bad sector", OSError("bad sector")).as_instanceof_cause()
        return make_relations()

    poller = make_poller(fetch)
    try:
        wait_until(lambda: "OSError: bad sector" in poller.last_error)
        answers.set()
        wait_until(lambda: poller.take() is not None)
    finally:
        poller.close()


def test_a_rescorer_that_has_ended_does_not_keep_newer_relations_away():
    def ended():
        raise ScorerError("the rescorer has ended")

    poller = RelationPoller(lambda newer_than: make_relations(), ended, version=0, poll_every_s=0.01)
    try:
        wait_until(lambda: poller.take() is not None)
        wait_until(lambda: "ended" in poller.last_error)
        assert poller.silence_s < 0.5
    finally:
        poller.close()


def test_a_step_does_not_wait_for_a_store_that_hangs(process_group_of_one):
    release = threading.Event()
    poller = make_poller(lambda newer_than: release.wait(10) and None)
    feed = RelationFeed(make_relations(), CPU, every_steps=1, poller=poller)
    try:
        time.sleep(0.05)
        started = time.monotonic()
        assert all(feed.refresh(step) is None for step in range(50))
        assert time.monotonic() - started < 0.5
    finally:
        release.set()
        poller.close()


def test_newer_relations_are_adopted_only_where_all_ranks_agreed_to_look(process_group_of_one):
    waiting = make_relations(0.25)
    poller = make_poller(lambda newer_than: waiting if newer_than == 0 else None)
    feed = RelationFeed(without_scores(DisGraph.empty(ATTRIBUTES)), CPU, every_steps=10, poller=poller)
    try:
        wait_until(lambda: poller._waiting is not None)
        assert feed.refresh(9) is None
        assert float(feed.strength.abs().sum()) == 0
        event = json.loads(feed.refresh(10))
        assert event == {
            "event": "graph",
            "step": 10,
            "version": waiting.graph.version,
            "digests": [waiting.graph.digest()],
        }
        assert float(feed.strength[0, 1]) == 0.25
        assert feed.age_s < 1
    finally:
        poller.close()


def test_scored_rows_of_all_ranks_together_do_not_depend_on_their_number():
    feed = RelationFeed(make_relations(), CPU, every_steps=1)
    alone = feed.scored_rows(seed=3, step=5, num_rows=8, lane=0, num_lanes=1)
    together = np.concatenate([feed.scored_rows(seed=3, step=5, num_rows=8, lane=r, num_lanes=4) for r in range(4)])
    np.testing.assert_array_equal(alone, together)


def test_there_are_no_scored_rows_before_the_first_scan():
    feed = RelationFeed(without_scores(DisGraph.empty(ATTRIBUTES)), CPU, every_steps=1)
    assert feed.scored_rows(seed=0, step=0, num_rows=8, lane=0, num_lanes=1) is None
