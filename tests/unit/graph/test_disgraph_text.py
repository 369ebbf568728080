"""The text of a DisGraph: every bit survives it, and what is no such text, or no graph, is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gem_ray.errors import GraphError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.messages.graph import EvidenceKind
from tests.unit.graph.small_graphs import ATTRIBUTES, make_graph


def test_json_round_trip_keeps_every_bit():
    graph = make_graph()
    text = graph.to_json()
    again = DisGraph.from_json(text)
    assert again.to_json() == text
    assert again.digest() == graph.digest()
    for name in ("strength", "standard_error", "confidence"):
        assert getattr(again, name).tobytes() == getattr(graph, name).tobytes()
    for kind in EvidenceKind:
        for name in ("value", "standard_error", "num_observations", "step", "version"):
            assert getattr(again.layers[kind], name).tobytes() == getattr(graph.layers[kind], name).tobytes()
        assert again.layers[kind].evidence == graph.layers[kind].evidence
    assert (again.attributes, again.evidence, again.scores) == (graph.attributes, graph.evidence, graph.scores)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_random_graphs_survive_json():
    rng = np.random.default_rng(0)
    for _ in range(20):
        graph = DisGraph.from_strength(ATTRIBUTES, rng.uniform(-1, 1, (3, 3)), rng.exponential(size=(3, 3)))
        assert DisGraph.from_json(graph.to_json()).digest() == graph.digest()


def altered(**changes) -> str:
    return json.dumps(json.loads(make_graph().to_json()) | changes)


def altered_layer(kind="traversals", **changes) -> str:
    content = json.loads(make_graph().to_json())
    content["layers"][kind] |= changes
    return json.dumps(content)


def without_layer(kind: str) -> str:
    content = json.loads(make_graph().to_json())
    del content["layers"][kind]
    return json.dumps(content)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        make_graph().to_json()[:-1],
        make_graph().to_json().replace("null", "NaN", 1),
        altered(schema=3),
        altered(schema=1),
        altered(version=-1),
        altered(version="3"),
        altered(version=True),
        altered(attributes=["male", "male", "bald"]),
        altered(attributes=["male", "beard"]),
        altered(strength=[[0, 2, 0], [0, 0, 0], [0, 0, 0]]),
        altered(strength=[[0, None, 0], [0, 0, 0], [0, 0, 0]]),
        altered(strength=[[0, "0.5", 0], [0, 0, 0], [0, 0, 0]]),
        altered(strength=[[0.5, 0, 0], [0, 0, 0], [0, 0, 0]]),
        altered(strength=[[0, 0], [0, 0]]),
        altered(layers={}),
        altered(layers=[]),
        without_layer("samples"),
        altered(scores={"uri": "x"}),
        altered(surprise=1),
        altered_layer(standard_error=[[-1] * 3] * 3),
        altered_layer(standard_error=[[1] * 3] * 3),  # finite where there is no value
        altered_layer(value=[[None, 2, None]] * 3),
        altered_layer(value=[[0.5] * 3] * 3),  # on the diagonal
        altered_layer(value=[[None] * 2] * 2),
        altered_layer(evidence=[[1] * 3] * 3),
        altered_layer(step=[[0.5] * 3] * 3),
        altered_layer(step=[[-2] * 3] * 3),
        altered_layer(version=[[-1] * 3] * 3),
        altered_layer(num_observations=[[-1] * 3] * 3),
        altered_layer(surprise=1),
    ],
)
def test_text_that_is_no_graph_is_refused(text):
    with pytest.raises(GraphError):
        DisGraph.from_json(text)
