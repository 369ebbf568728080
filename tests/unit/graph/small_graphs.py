"""A graph of three attributes, and pushes to it."""

from __future__ import annotations

import math
from dataclasses import replace

from gem_ray.graph.disgraph import DisGraph
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push, ScoresRef

ATTRIBUTES = ("male", "beard", "bald")
SCORES = ScoresRef(uri="file:///run/scores/1.safetensors", sha256="ab" * 32, num_images=512)


def make_edge(source="male", target="beard", strength=0.39, standard_error=0.02, num_observations=512) -> EdgeUpdate:
    return EdgeUpdate(
        source=source,
        target=target,
        strength=strength,
        standard_error=standard_error,
        num_observations=num_observations,
    )


def make_push(*edges: EdgeUpdate, **changes) -> Push:
    push = Push(
        push_id="p1", base_version=0, kind=EvidenceKind.SCORES, edges=edges or (make_edge(),), evidence_id="scan.json"
    )
    return replace(push, **changes)


def make_graph() -> DisGraph:
    """A graph with a history: scores with an awkward float, then a traversal."""
    graph = DisGraph.empty(ATTRIBUTES)
    graph = graph.apply(make_push(make_edge(strength=0.1 + 0.2), scores=SCORES), max_change=1)
    traversal = make_push(make_edge("beard", "bald", -1e-300, math.inf), kind=EvidenceKind.TRAVERSALS, step=500)
    return graph.apply(traversal, max_change=1)
