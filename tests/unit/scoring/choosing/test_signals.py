"""The signals of a graph and a checkpoint are what its layers, gradients and learned offsets say."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from gem_ray.config import ModelConfig
from gem_ray.errors import DataError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push
from gem_ray.models.gem import Gem
from gem_ray.scoring.choosing.selection import FRESH_LOOK, SignalWeights, edge_values
from gem_ray.scoring.choosing.signals import influence_of, learned_strength, signals_of, weights_of

NAMES = ("a", "b", "c")
OFF_DIAGONAL = ~np.eye(3, dtype=bool)


def pushed(graph: DisGraph, kind: EvidenceKind, source: str, target: str, step: int | None = None) -> DisGraph:
    edge = EdgeUpdate(source=source, target=target, strength=0.5, standard_error=0.1, num_observations=40)
    push = Push(
        push_id=f"{kind}{source}{target}{graph.version}",
        base_version=graph.version,
        kind=kind,
        edges=(edge,),
        evidence_id="e",
        step=step,
    )
    return graph.apply(push, max_change=1.0)


def test_the_learned_strength_is_what_the_model_itself_refines() -> None:
    torch.manual_seed(0)
    gem = Gem(ModelConfig(attributes=list(NAMES), residual_dim=1), 32)
    with torch.no_grad():
        gem.edge_offset.copy_(torch.tensor([[0.3, 0.4, -0.2], [0.1, 0.3, 0.0], [0.0, -0.9, 0.3]]))
    strength = np.array([[0.0, 0.9, -0.3], [0.1, 0.0, 0.0], [0.0, -0.5, 0.0]])
    tensors = {f"gem.{name}": tensor for name, tensor in gem.state_dict().items()}
    learned = learned_strength(tensors, strength)
    expected = gem.refined_adjacency(torch.tensor(strength, dtype=torch.float32)).detach().numpy()
    np.testing.assert_allclose(learned, expected, atol=1e-6)
    assert learned[0, 1] == 1.0
    assert learned[2, 1] == -1.0


def test_tensors_of_another_model_are_refused() -> None:
    with pytest.raises(DataError, match="no edge offset for a graph of 3 attributes.*shape \\(2, 2\\)"):
        learned_strength({"gem.edge_offset": torch.zeros(2, 2)}, np.zeros((3, 3)))
    with pytest.raises(DataError, match="it has none"):
        learned_strength({}, np.zeros((3, 3)))


def test_influence_is_read_from_the_state_as_json_gives_it_back() -> None:
    table = [[0.0, 1.5], [2.0, 0.0]]
    found = influence_of(json.loads(json.dumps({"edge_influence": table})), 2)
    assert found is not None
    assert found.tolist() == table
    assert influence_of({}, 2) is None
    for wrong in ([[1.0]], "text", [[1.0, 2.0], [3.0]], [["x", 1.0], [1.0, 1.0]]):
        with pytest.raises(DataError, match="edge_influence"):
            influence_of({"edge_influence": wrong}, 2)


def test_an_empty_graph_has_every_pair_unasked() -> None:
    for kind in EvidenceKind:
        signals = signals_of(DisGraph.empty(NAMES), kind, step=100)
        values = edge_values(signals, weights_of(kind))[OFF_DIAGONAL]
        assert np.isinf(signals.standard_error).all()
        assert np.isinf(signals.age).all()
        assert values.min() == values.max() > 0


def test_scores_age_in_versions_and_doubt_the_strength() -> None:
    graph = pushed(DisGraph.empty(NAMES), EvidenceKind.SCORES, "a", "b")
    for _ in range(3):
        graph = pushed(graph, EvidenceKind.SCORES, "b", "c")
    learned = graph.strength + np.array([[0, 0.2, 0], [0, 0, -0.1], [0, 0, 0]])
    signals = signals_of(graph, EvidenceKind.SCORES, learned=learned)
    assert signals.age[0, 1] == 3
    assert signals.age[1, 2] == 0
    assert np.isinf(signals.age[0, 2])
    assert signals.standard_error[0, 1] == 0.1
    np.testing.assert_allclose(signals.disagreement[[0, 1, 2], [1, 2, 0]], [0.2, 0.1, 0.0])
    assert np.isnan(signals.order_gap).all()
    assert signals.num_observations is not None
    assert signals.num_observations[0, 1] == 40


def test_looks_age_in_steps_and_ask_how_far_the_learned_weight_has_moved_since() -> None:
    graph = pushed(DisGraph.empty(NAMES), EvidenceKind.TRAVERSALS, "a", "b", step=100)
    graph = pushed(graph, EvidenceKind.TRAVERSALS, "b", "a", step=400)
    now, then = np.zeros((3, 3)), np.full((3, 3), np.nan)
    now[0, 1], then[0, 1] = 0.5, 0.1
    signals = signals_of(graph, EvidenceKind.TRAVERSALS, step=500, learned=now, learned_then=then)
    assert signals.age[0, 1] == 400
    assert signals.age[1, 0] == 100
    assert np.isinf(signals.age[2, 0])
    assert signals.disagreement[0, 1] == pytest.approx(0.4)
    assert np.isnan(signals.disagreement[1, 0])
    # What the data show is another matter: nobody has asked about it.
    assert np.isinf(signals_of(graph, EvidenceKind.SCORES).age).all()
    assert np.isinf(signals_of(graph, EvidenceKind.SAMPLES, step=500).age).all()


def test_a_pair_just_looked_at_is_the_last_to_be_looked_at_again() -> None:
    graph = DisGraph.empty(NAMES)
    for source in NAMES:
        for target in NAMES:
            if source != target:
                graph = pushed(graph, EvidenceKind.TRAVERSALS, source, target, step=100)
    graph = pushed(graph, EvidenceKind.TRAVERSALS, "c", "a", step=300)
    kind = EvidenceKind.TRAVERSALS
    still = np.zeros((3, 3))
    signals = signals_of(graph, kind, step=300, learned=still, learned_then=still)
    moved = signals_of(graph, kind, step=300, learned=np.array([[0, 0, 0], [0.4, 0, 0], [0, 0, 0]]), learned_then=still)
    assert np.flatnonzero(edge_values(moved, weights_of(kind))).size > 0
    assert np.argmax(edge_values(moved, weights_of(kind))) == 3
    values = edge_values(signals, weights_of(kind))
    assert values[2, 0] == 0.0


def test_evidence_that_is_replaced_is_weighed_as_a_fresh_look() -> None:
    assert [weights_of(kind) is FRESH_LOOK for kind in EvidenceKind] == [False, True, True, False]
    assert weights_of(EvidenceKind.SCORES) == SignalWeights()
