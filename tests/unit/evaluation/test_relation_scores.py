"""All graphs of a run against the truth, and nothing where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from gem_ray.data.faces import ATTRIBUTES, true_strength
from gem_ray.data.manifest import Manifest
from gem_ray.evaluation.relation_scores import rank_correlation, relation_scores, truth_in_words
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.layers import Layer
from gem_ray.messages.graph import EvidenceKind

FACES = Manifest(
    shape=(32, 32, 3), shards=(), source="faces", attributes=ATTRIBUTES, seed=0, num_skipped=0, settings={}
)
NOISE = np.random.default_rng(0).normal(0, 0.1, (6, 6))


def graph(strength: np.ndarray) -> DisGraph:
    strength = np.clip(strength, -1, 1) * (1 - np.eye(6))
    return DisGraph.from_strength(ATTRIBUTES, strength, np.full((6, 6), 0.05))


def test_every_graph_that_is_known_is_compared():
    truth = true_strength()
    estimated, refined = graph(truth + NOISE), truth.copy()
    samples = Layer.unknown(6)
    error = np.full((6, 6), np.inf)
    error[0, 1:4] = 0.1
    samples = replace(samples, value=np.where(np.isfinite(error), -truth, np.nan), standard_error=error)
    found = relation_scores(
        replace(estimated, layers={**estimated.layers, EvidenceKind.SAMPLES: samples}),
        refined,
        truth,
        FACES,
        {"read": truth / 2},
    )
    scores = {one.graph: one for one in found.graphs}
    assert set(scores) == {"DisGraph", "refined", "samples", "read"}
    off = ~np.eye(6, dtype=bool)
    assert scores["DisGraph"].agreement.mean_absolute_difference == pytest.approx(
        np.abs(estimated.strength - truth)[off].mean()
    )
    assert scores["DisGraph"].rank_correlation == pytest.approx(
        spearmanr(estimated.strength[off], truth[off]).statistic
    )
    assert scores["refined"].agreement.mean_absolute_difference == 0
    assert scores["refined"].rank_correlation == pytest.approx(1)
    assert scores["samples"].rank_correlation == pytest.approx(-1)
    assert (scores["samples"].slope, scores["read"].slope) == (pytest.approx(-1), pytest.approx(0.5))
    assert scores["samples"].agreement.sign_agreement == 0
    assert found.fidelity_gap is not None
    assert found.traversal_gap is None


def test_a_graph_without_evidence_is_not_compared_as_if_it_said_nothing_is_related():
    found = relation_scores(DisGraph.empty(ATTRIBUTES), np.zeros((6, 6)), true_strength(), FACES, {})
    assert [one.graph for one in found.graphs] == ["refined"]
    assert found.graphs[0].rank_correlation is None


def test_without_a_truth_nothing_is_compared():
    found = relation_scores(graph(true_strength()), np.zeros((6, 6)), None, FACES, {})
    assert (found.graphs, found.truth) == ((), None)


def test_rank_correlation_leaves_out_the_diagonal_and_what_is_not_known():
    truth = np.array([[9.0, 1, 2], [3, 9, 4], [5, 6, 9]])
    strength = np.array([[-9.0, 1, 2], [3, -9, 4], [5, np.nan, -9]])
    assert rank_correlation(strength, truth) == pytest.approx(1)
    assert rank_correlation(np.full((3, 3), np.nan), truth) is None


def test_the_source_of_the_truth_is_told():
    assert "drawn from" in truth_in_words(FACES)
    assert "own attributes over 0 images" in truth_in_words(replace(FACES, source="photos.zip"))
