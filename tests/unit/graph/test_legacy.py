"""Graphs of schema 1: what they said is found in the layers of today."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from gem_ray.errors import GraphError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push

SCHEMA_1 = {
    "schema": 1,
    "attributes": ["male", "beard", "bald"],
    "version": 7,
    "strength": [[0, 0.39, 0.1], [0.69, 0, 0], [0, 0, 0]],
    "standard_error": [["inf", 0.02, "inf"], [0.03, "inf", "inf"], ["inf", "inf", "inf"]],
    "confidence": [[0, 0.99, 0], [0.99, 0, 0], [0, 0, 0]],
    "shown": [[None, -0.2, None], [None, None, None], [None, None, None]],
    "shown_standard_error": [["inf", 0.2, "inf"], ["inf", "inf", "inf"], ["inf", "inf", "inf"]],
    "changed_version": [[0, 6, 5], [6, 0, 5], [0, 0, 0]],
    "changed_step": [[-1, -1, 90], [-1, -1, -1], [-1, -1, -1]],
    "shown_step": [[-1, 500, -1], [-1, -1, -1], [-1, -1, -1]],
    "evidence": [["", "s.json", "r.json"], ["s.json", "", "r.json"], ["", "", ""]],
    "shown_evidence": [["", "t.json", ""], ["", "", ""], ["", "", ""]],
    "scores": {"uri": "scores/a.parquet", "sha256": "ab", "num_images": 512},
}


def test_graph_of_schema_1_says_what_it_said():
    graph = DisGraph.from_json(json.dumps(SCHEMA_1))
    assert (graph.version, graph.scores.num_images) == (7, 512)
    np.testing.assert_array_equal(graph.strength, SCHEMA_1["strength"])
    np.testing.assert_array_equal(graph.standard_error[[0, 1, 0], [1, 0, 2]], [0.02, 0.03, np.inf])
    np.testing.assert_array_equal(graph.changed_version, SCHEMA_1["changed_version"])
    np.testing.assert_array_equal(graph.changed_step, SCHEMA_1["changed_step"])
    assert graph.evidence[0] == ("", "s.json", "r.json")
    assert (graph.shown[0, 1], graph.shown_standard_error[0, 1], graph.shown_step[0, 1]) == (-0.2, 0.2, 500)
    assert np.isnan(graph.shown).sum() == 8
    assert graph.shown_evidence[0][1] == "t.json"
    # A constant attribute has evidence and a strength of 0; where there is no evidence there is no value.
    assert (graph.scored[1, 2], math.isnan(graph.scored[2, 0])) == (0, True)
    for kind in (EvidenceKind.JUDGEMENTS, EvidenceKind.SAMPLES):
        assert np.isnan(graph.layers[kind].value).all()


def test_graph_of_schema_1_goes_on_as_before():
    graph = DisGraph.from_json(json.dumps(SCHEMA_1))
    edge = EdgeUpdate(source="male", target="beard", strength=-1.0, standard_error=0.01, num_observations=600)
    push = Push(push_id="p", base_version=7, kind=EvidenceKind.SCORES, edges=(edge,), evidence_id="n.json")
    after = graph.apply(push, max_change=0.25)
    assert after.strength[0, 1] == 0.39 - 0.25
    assert DisGraph.from_json(after.to_json()).digest() == after.digest()


@pytest.mark.parametrize("name", sorted(set(SCHEMA_1) - {"schema"}))
def test_schema_1_without_one_of_its_fields_is_refused(name):
    with pytest.raises(GraphError):
        DisGraph.from_json(json.dumps({key: value for key, value in SCHEMA_1.items() if key != name}))
