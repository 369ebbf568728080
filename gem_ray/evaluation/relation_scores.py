"""The relations of a run against the known ones, and against what the model's own images show."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from gem_ray.data.drawn import DRAWN
from gem_ray.data.manifest import Manifest
from gem_ray.evaluation.evaluate import TRUTH_RECORDS
from gem_ray.evaluation.evaluation_facts import GraphScores, RelationScores
from gem_ray.evaluation.relations import agreement, fidelity_noise, relation_fidelity, traversal_gap
from gem_ray.graph.disgraph import DisGraph


def relation_scores(
    graph: DisGraph,
    refined: NDArray[np.float64],
    truth: NDArray[np.float64] | None,
    manifest: Manifest,
    read: Mapping[str, NDArray[np.float64]],
) -> RelationScores:
    """All graphs of a run against the truth [K, K] (None where it is not known).

    Args:
        refined: [K, K] the adjacency that the model refined
        read: further ones by name, see ``own_images.relations_of_own_images``
    """
    sampled = np.where(np.isfinite(graph.sampled_standard_error), graph.sampled, np.nan)
    shown = np.where(np.isfinite(graph.shown_standard_error), graph.shown, np.nan)
    known = np.where(np.isfinite(graph.standard_error), graph.strength, np.nan)
    strengths = {"DisGraph": known, "refined": refined, "samples": sampled, "traversals": shown, **read}
    return RelationScores(
        truth=None if truth is None else truth_in_words(manifest),
        graphs=()
        if truth is None
        else tuple(
            GraphScores(
                graph=name,
                agreement=agreement(strength, truth),
                rank_correlation=rank_correlation(strength, truth),
                slope=slope(strength, truth),
            )
            for name, strength in strengths.items()
            if _compared(strength, truth).any()
        ),
        fidelity_gap=relation_fidelity(graph),
        fidelity_noise=fidelity_noise(graph),
        traversal_gap=traversal_gap(graph),
    )


def rank_correlation(strength: NDArray[np.float64], truth: NDArray[np.float64]) -> float | None:
    """Spearman's over directed pairs that both know; None where one side is constant or fewer than three are known."""
    pairs = _compared(strength, truth)
    if pairs.sum() < 3 or np.ptp(strength[pairs]) == 0 or np.ptp(truth[pairs]) == 0:
        return None
    return float(spearmanr(strength[pairs], truth[pairs]).statistic)


def slope(strength: NDArray[np.float64], truth: NDArray[np.float64]) -> float | None:
    """Of the line through 0 that fits strengths to the true ones best: below 1 the relations are too weak."""
    pairs = _compared(strength, truth)
    squares = float(np.square(truth[pairs]).sum())
    return float((strength[pairs] * truth[pairs]).sum()) / squares if squares else None


def truth_in_words(manifest: Manifest) -> str:
    """Where the known relations come from."""
    if manifest.source in DRAWN or manifest.relations is not None:
        return "the distribution that the data are drawn from"
    return f"Somers' D of the data's own attributes over {min(TRUTH_RECORDS, manifest.count):,} images"


def _compared(strength: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.isfinite(strength) & np.isfinite(truth) & ~np.eye(len(truth), dtype=bool)
