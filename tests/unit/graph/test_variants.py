"""Controls for the relations: the same weights in other places, the same evidence in fewer directions, or none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gem_ray.errors import ConfigError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.variants import VARIANTS, derangement, variant
from gem_ray.messages.graph import EvidenceKind, ScoresRef

NAMES = ("a", "b", "c", "d")
OFF_DIAGONAL = ~np.eye(4, dtype=bool)


@pytest.fixture
def graph() -> DisGraph:
    rng = np.random.default_rng(0)
    strength, error = rng.uniform(-1, 1, (4, 4)), rng.uniform(0.01, 0.3, (4, 4))
    found = DisGraph.from_strength(NAMES, strength, error)
    shown = found.layers[EvidenceKind.SAMPLES].updated([(0, 1, 0.5, 0.1, 9)], version=3, step=70, evidence_id="a.json")
    scores = ScoresRef(uri="scores/x.parquet", sha256="0" * 64, num_images=9)
    return replace(found, version=5, scores=scores, layers={**found.layers, EvidenceKind.SAMPLES: shown})


@pytest.mark.parametrize("kind", VARIANTS)
def test_every_variant_keeps_the_version_the_scores_and_what_the_model_shows(graph, kind):
    found = variant(graph, kind, seed=0)
    assert (found.version, found.scores, found.attributes) == (5, graph.scores, NAMES)
    assert found.sampled[0, 1] == 0.5
    assert variant(graph, kind, seed=0).digest() == found.digest()
    assert DisGraph.from_json(found.to_json()).digest() == found.digest()


def test_estimated_relations_are_the_graph_itself(graph):
    assert variant(graph, "estimated", seed=0) is graph


@pytest.mark.parametrize("seed", range(20))
def test_permuted_relations_are_those_of_a_graph_whose_attributes_all_have_other_names(graph, seed):
    found = variant(graph, "permuted", seed)
    places = derangement(4, seed)
    assert (places != np.arange(4)).all()
    assert sorted(places) == [0, 1, 2, 3]
    for i in range(4):
        for j in range(4):
            assert found.strength[i, j] == graph.strength[places[i], places[j]]
            assert found.standard_error[i, j] == graph.standard_error[places[i], places[j]]
    sizes = [np.sort(np.abs(np.linalg.eigvals(each.strength))) for each in (found, graph)]
    assert sizes[0] == pytest.approx(sizes[1])


@pytest.mark.parametrize("seed", range(5))
def test_random_relations_are_the_same_weights_on_other_edges(graph, seed):
    found = variant(graph, "random", seed)
    assert sorted(found.strength[OFF_DIAGONAL]) == sorted(graph.strength[OFF_DIAGONAL])
    assert not np.diag(found.strength).any()
    assert found.digest() != graph.digest()
    # An edge keeps its weight and its error together.
    pairs = set(zip(graph.strength[OFF_DIAGONAL], graph.standard_error[OFF_DIAGONAL], strict=True))
    assert set(zip(found.strength[OFF_DIAGONAL], found.standard_error[OFF_DIAGONAL], strict=True)) == pairs
    assert found.digest() != variant(graph, "random", seed + 1).digest()


def test_symmetric_relations_are_the_mean_of_both_directions(graph):
    found = variant(graph, "symmetric", seed=0)
    assert found.strength == pytest.approx((graph.strength + graph.strength.T) / 2)
    assert np.array_equal(found.strength, found.strength.T)


def test_no_relations_have_no_strength_and_no_confidence(graph):
    found = variant(graph, "none", seed=0)
    assert not found.strength.any()
    assert not found.confidence.any()


def test_unknown_variant_is_refused_by_name(graph):
    with pytest.raises(ConfigError, match="graph.relations='shuffled' is not known; choose one of estimated, permuted"):
        variant(graph, "shuffled", seed=0)
