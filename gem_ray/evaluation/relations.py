"""How well a graph of relations agrees with a known one, and with what the model shows.

Plain arrays [n, n] indexed [source, target] in, numbers out. Pairs in which either side is NaN (not known) are left
out; a figure is None where no pair qualifies, so that nobody reads a 0 as an answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import GraphError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.messages.graph import EvidenceKind

CLEAR_STRENGTH = 0.05
"""The sign of a true relation counts where its strength is over this."""
CLEAR_ASYMMETRY = 0.1
"""The direction of a true pair counts where its two strengths differ in size by more than this."""


@dataclass(frozen=True, kw_only=True)
class RelationAgreement:
    """Agreement of a graph with the true one over all directed pairs; shares in [0, 1], None where no pair counts.

    Args:
        mean_absolute_difference, max_absolute_difference: of the strengths, in [0, 2]
        sign_agreement: share of directed pairs with |true strength| > ``CLEAR_STRENGTH`` whose sign is right
        direction_agreement: share of unordered pairs with a true asymmetry over ``CLEAR_ASYMMETRY`` in which the
            side that is truly stronger is the stronger one
    """

    mean_absolute_difference: float | None
    max_absolute_difference: float | None
    sign_agreement: float | None
    direction_agreement: float | None


def agreement(strength: NDArray[np.floating], truth: NDArray[np.floating]) -> RelationAgreement:
    """Compare strengths [n, n] with the true ones; the diagonal is ignored.

    Raises:
        GraphError: the shapes differ, or are not square
    """
    if strength.shape != truth.shape or strength.ndim != 2 or strength.shape[0] != strength.shape[1]:
        raise GraphError(f"strengths {strength.shape} and true strengths {truth.shape} must be of one square shape")
    pairs = np.isfinite(strength) & np.isfinite(truth) & ~np.eye(len(truth), dtype=bool)
    difference = np.abs(strength - truth)[pairs]
    clear = pairs & (np.abs(truth) > CLEAR_STRENGTH)
    asymmetry, true_asymmetry = (np.abs(s) - np.abs(s).T for s in (strength, truth))
    directed = np.triu(pairs & pairs.T) & (np.abs(true_asymmetry) > CLEAR_ASYMMETRY)
    return RelationAgreement(
        mean_absolute_difference=_mean(difference),
        max_absolute_difference=float(difference.max()) if difference.size else None,
        sign_agreement=_mean(np.sign(strength[clear]) == np.sign(truth[clear])),
        direction_agreement=_mean(asymmetry[directed] * true_asymmetry[directed] > 0),
    )


def edge_fidelity(graph: DisGraph) -> NDArray[np.float64]:
    """|sampled - strength| [n, n] in [0, 2]: how far each relation among the model's own images is from the data's.

    Samples are images decoded from random codes and scored as data images are, so both sides are the same statistic.
    NaN where either is not known.
    """
    return _gap(graph, EvidenceKind.SAMPLES)


def relation_fidelity(graph: DisGraph) -> float | None:
    """Mean of ``edge_fidelity`` over edges with evidence for both; None where no samples were scored."""
    return _mean(_known(edge_fidelity(graph)))


def fidelity_noise(graph: DisGraph) -> float | None:
    """What ``relation_fidelity`` would be on average for a model that is exactly right, by the standard errors alone.

    A normal difference of deviation s is sqrt(2 / pi) s off on average. 64 samples give about .07: a gap of that size
    says nothing against the model.
    """
    error = np.hypot(graph.sampled_standard_error, graph.standard_error)
    return _mean(np.sqrt(2 / np.pi) * error[np.isfinite(edge_fidelity(graph))])


def traversal_gap(graph: DisGraph) -> float | None:
    """Mean |shown - strength| over edges with evidence for both; None where no traversals were scored.

    Not the same statistic on both sides: a traversal moves one node and holds the other codes, so it shows the effect
    of the source alone, where it goes. It tells whether relations act at all; ``relation_fidelity`` compares.
    """
    return _mean(_known(_gap(graph, EvidenceKind.TRAVERSALS)))


def _gap(graph: DisGraph, kind: EvidenceKind) -> NDArray[np.float64]:
    layer = graph.layers[kind]
    known = np.isfinite(layer.standard_error) & np.isfinite(graph.standard_error)
    return np.where(known, np.abs(layer.value - graph.strength), np.nan)


def _known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[np.isfinite(values)]


def _mean(values: NDArray[np.generic]) -> float | None:
    return float(values.mean()) if values.size else None
