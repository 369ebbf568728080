"""What the fields of a DisGraph must be, whether they were computed or read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gem_ray.messages.graph import EvidenceKind

if TYPE_CHECKING:
    from gem_ray.graph.disgraph import DisGraph


def fault_of(graph: DisGraph) -> str | None:
    """What breaks the rules of a graph; None for nothing. NaN fails every comparison."""
    n = len(graph.attributes)
    if n < 2 or len(set(graph.attributes)) != n or not all(isinstance(a, str) and a for a in graph.attributes):
        return f"attributes {list(graph.attributes)} must be two or more different names"
    if isinstance(graph.version, bool) or not isinstance(graph.version, int) or graph.version < 0:
        return f"version {graph.version!r} must be a whole number from 0"
    if graph.strength.shape != (n, n):
        return f"strength has the shape {graph.strength.shape}, not {(n, n)}"
    if not (np.abs(graph.strength) <= 1).all() or np.diag(graph.strength).any():
        return "a strength is not in [-1, 1], or not 0 on the diagonal"
    if set(graph.layers) != set(EvidenceKind):
        return f"it has layers of {', '.join(graph.layers)}, not of {', '.join(EvidenceKind)}"
    for kind, layer in graph.layers.items():
        fault = layer.fault(n)
        if fault:
            return f"{kind.value}: {fault}"
    return None
