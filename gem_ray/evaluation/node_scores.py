"""How well each named node tells the attribute that it is named after."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gem_ray.evaluation.disentanglement.auroc import aurocs
from gem_ray.evaluation.evaluation_facts import NodeScores
from gem_ray.evaluation.reconstruction import rank_correlations, read_attributes
from gem_ray.evaluation.scored_points import ScoredPoints


def node_scores(points: ScoredPoints, names: tuple[str, ...]) -> tuple[NodeScores, ...]:
    """Scores of the nodes, in the order of ``names``, on the test points; None for attributes the data do not know.

    A node stands for its first dimension, which alignment and traversals act on.
    """
    test = slice(points.num_train, None)
    first = [k * points.node_dim for k in range(points.num_nodes)]
    z, z_rel, factors = points.z_NL[test], points.z_rel_NL[test], points.factors
    values, labels = factors.values[test], factors.labels[test]
    before, after = (read_attributes(codes[:, first], values) for codes in (z, z_rel))
    areas = [aurocs(codes[:, first], labels) for codes in (z, z_rel)] if labels.shape[1] else []
    every = np.abs(rank_correlations(z, values))
    found = []
    for k, name in enumerate(names):
        j = factors.names.index(name) if name in factors.names else None
        a = factors.label_names.index(name) if name in factors.label_names else None
        found.append(
            NodeScores(
                name=name,
                auroc=None if a is None else _known(areas[0][a, k]),
                auroc_rel=None if a is None else _known(areas[1][a, k]),
                spearman=None if j is None else _known(abs(before.spearman[k, j])),
                spearman_rel=None if j is None else _known(abs(after.spearman[k, j])),
                order=None if j is None else _known(before.order[k, j]),
                order_rel=None if j is None else _known(after.order[k, j]),
                runner_up=None if j is None else _runner_up(every[:, j], first[k]),
            )
        )
    return tuple(found)


def _runner_up(correlations_L: NDArray[np.float64], own: int) -> float | None:
    others = np.delete(correlations_L, own)
    known = others[np.isfinite(others)]
    return float(known.max()) if known.size else None


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
