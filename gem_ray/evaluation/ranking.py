"""Relations in order of strength, each with an interval, and which of them may be noise. Pure.

An interval is the estimate and 1.96 standard errors to both sides, on the scale of Fisher's z. Among n(n - 1) of them
one in twenty would exclude 0 by chance, so an edge counts as found only where its two-sided p-value survives Benjamini
and Hochberg's (1995) control of the false discovery rate over all directed pairs with evidence; the rest "may be
noise". Every edge whose interval includes 0 is among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, norm

from gem_ray.evaluation.relations import edge_fidelity
from gem_ray.graph.disgraph import FOLLOWED, DisGraph
from gem_ray.graph.relations import strength_interval, strength_z
from gem_ray.messages.graph import EvidenceKind

FALSE_DISCOVERIES = 0.05
"""At most this share of the edges that are not marked is expected to be noise."""


@dataclass(frozen=True, kw_only=True)
class RankedEdge:
    """One directed relation; None where nothing is known.

    Args:
        strength: signed, in [-1, 1]
        low, high: 95 % interval, inside [-1, 1]
        adjusted_p: p-value of "no relation" after Benjamini and Hochberg
        may_be_noise: whether that exceeds ``FALSE_DISCOVERIES``, or nothing is known
        confidence: in [0, 1], see ``graph.layers.confidence_of``
        observations: images (scores) or answers (judgements) behind the strength, by kind of evidence
        sampled: the same relation among the model's own images, see ``scoring.samples``
        fidelity: |sampled - strength|
    """

    source: str
    target: str
    strength: float
    standard_error: float | None
    low: float | None
    high: float | None
    adjusted_p: float | None
    may_be_noise: bool
    confidence: float
    observations: dict[EvidenceKind, int]
    sampled: float | None
    fidelity: float | None


@dataclass(frozen=True, kw_only=True)
class RankedPair:
    """Both directions between two attributes, the stronger one first."""

    first: RankedEdge
    second: RankedEdge


def ranked_pairs(graph: DisGraph) -> tuple[RankedPair, ...]:
    """All pairs of a graph, strongest first; pairs without evidence come last."""
    names, n = graph.attributes, len(graph.attributes)
    error, fidelity = graph.standard_error, edge_fidelity(graph)
    adjusted = adjusted_p_values(graph.strength, error)
    low, high = strength_interval(graph.strength, error)

    def edge(i: int, j: int) -> RankedEdge:
        known = bool(np.isfinite(error[i, j]))
        return RankedEdge(
            source=names[i],
            target=names[j],
            strength=float(graph.strength[i, j]),
            standard_error=float(error[i, j]) if known else None,
            low=float(low[i, j]) if known else None,
            high=float(high[i, j]) if known else None,
            adjusted_p=float(adjusted[i, j]) if known else None,
            may_be_noise=not known or bool(adjusted[i, j] > FALSE_DISCOVERIES),
            confidence=float(graph.confidence[i, j]),
            observations={
                kind: int(graph.layers[kind].num_observations[i, j])
                for kind in FOLLOWED
                if np.isfinite(graph.layers[kind].standard_error[i, j])
            },
            sampled=float(graph.sampled[i, j]) if np.isfinite(graph.sampled_standard_error[i, j]) else None,
            fidelity=float(fidelity[i, j]) if np.isfinite(fidelity[i, j]) else None,
        )

    pairs = []
    for i, j in combinations(range(n), 2):
        first, second = sorted((edge(i, j), edge(j, i)), key=_order)
        pairs.append(RankedPair(first=first, second=second))
    return tuple(sorted(pairs, key=lambda pair: _order(pair.first)))


def _order(edge: RankedEdge) -> tuple[bool, float]:
    return edge.standard_error is None, -abs(edge.strength)


def adjusted_p_values(strength: NDArray[np.floating], standard_error: NDArray[np.floating]) -> NDArray[np.float64]:
    """p-values [n, n] of "no relation" after Benjamini and Hochberg over all edges with evidence; NaN elsewhere.

    The two directions of a pair share their numerator, and pairs share attributes: the tests depend on each other
    positively, under which the procedure keeps its promise (Benjamini and Yekutieli 2001).
    """
    tested = np.isfinite(standard_error) & ~np.eye(len(strength), dtype=bool)
    adjusted = np.full(strength.shape, np.nan)
    if tested.any():
        size = np.abs(strength_z(strength, standard_error))[tested]
        adjusted[tested] = false_discovery_control(2 * norm.sf(size), method="bh")
    return adjusted


def evidence_words(edge: RankedEdge) -> str:
    """What stands behind an edge: "4,480 images", "4,480 images, 24 answers", "none"."""
    units = {EvidenceKind.SCORES: "images", EvidenceKind.JUDGEMENTS: "answers"}
    # A graph that gem_ray 0.1 wrote has no counts.
    return (
        ", ".join(f"{count:,} {units[kind]}" if count else units[kind] for kind, count in edge.observations.items())
        or "none"
    )


def num_found(pairs: Sequence[RankedPair]) -> tuple[int, int]:
    """(directed edges that are not noise, all directed edges)."""
    edges = [edge for pair in pairs for edge in (pair.first, pair.second)]
    return sum(not edge.may_be_noise for edge in edges), len(edges)
