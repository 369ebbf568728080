"""What changed in a DisGraph: edge by edge between two versions, and one edge by one record of the journal."""

from __future__ import annotations

import numpy as np

from gem_ray.graph.disgraph import FOLLOWED, DisGraph
from gem_ray.graph.record import Record
from gem_ray.messages.graph import EdgeChange, EdgeRecord, EvidenceKind


def changes_between(before: DisGraph, after: DisGraph) -> tuple[EdgeChange, ...]:
    """Edges whose strength, or what any kind of evidence says of it, differs."""
    differs = before.strength != after.strength
    for kind in EvidenceKind:
        old, new = before.layers[kind].value, after.layers[kind].value
        differs = differs | ~((old == new) | (np.isnan(old) & np.isnan(new)))
    return tuple(
        EdgeChange(
            source=before.attributes[i],
            target=before.attributes[j],
            **{
                f"{name}_{when}": float(getattr(graph, name)[i, j])
                for name in ("strength", "scored", "judged", "shown", "sampled")
                for when, graph in (("before", before), ("after", after))
            },
        )
        for i, j in np.argwhere(differs)
    )


def edge_record(record: Record, before: DisGraph, after: DisGraph, i: int, j: int) -> EdgeRecord | None:
    """What a record did to edge (i, j): None for nothing."""
    push, measured, num_observations = record.push, None, 0
    strength, standard_error, evidence_id = after.strength[i, j], after.standard_error[i, j], after.evidence[i][j]
    if push is None:
        changes = {(change.source, change.target) for change in changes_between(before, after)}
        if (after.attributes[i], after.attributes[j]) not in changes:
            return None
    else:
        layer = after.layers[push.kind]
        if layer.version[i, j] != record.version:
            return None
        measured, num_observations = float(layer.value[i, j]), int(layer.num_observations[i, j])
        evidence_id = push.evidence_id
        if push.kind not in FOLLOWED:
            strength, standard_error = layer.value[i, j], layer.standard_error[i, j]
    return EdgeRecord(
        version=record.version,
        time_s=record.time_s,
        kind=None if push is None else push.kind,
        step=None if push is None else push.step,
        evidence_id=evidence_id,
        strength=float(strength),
        standard_error=float(standard_error),
        num_observations=num_observations,
        measured=measured,
    )
