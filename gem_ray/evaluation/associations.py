"""What every latent tells of every factor, named or not, before and after the graph.

Two readings: Spearman's rank correlation, and mutual information, which also sees what is not monotone. Shape
suffixes: N images, L latents, F factors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information, mutual_info_score

from gem_ray.evaluation.disentanglement.information import binned, entropy
from gem_ray.evaluation.reconstruction import rank_correlations

MOST_CLASSES = 20
CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Associations:
    """Tables [L, F]; NaN where a factor does not vary.

    Args:
        source: what the values of the factors are, in words
        factors: their names
        latents: names of the rows; only those that tell anything or belong to a node
        hidden: number of latents left out
        spearman, spearman_rel: size of the rank correlation before and after the graph, in [0, 1]
        information, information_rel: share of a factor's entropy that the latent tells, in [0, 1]
    """

    source: str
    num_images: int
    factors: tuple[str, ...]
    latents: tuple[str, ...]
    hidden: int
    spearman: NDArray[np.float64]
    spearman_rel: NDArray[np.float64]
    information: NDArray[np.float64]
    information_rel: NDArray[np.float64]


def associate(
    z_NL: NDArray[np.floating],
    z_rel_NL: NDArray[np.floating],
    values_NF: NDArray[np.floating],
    *,
    names: tuple[str, ...],
    node_dim: int,
    active_L: NDArray[np.bool_],
    factors: tuple[str, ...],
    source: str,
) -> Associations:
    """Tables of all nodes and of the residual latents that are active, the latter by the factor they tell most of.

    Args:
        names: of the K nodes, whose dimensions are the first K x ``node_dim`` latents
    """
    named = len(names) * node_dim
    residual = np.nonzero(active_L[named:])[0] + named
    shown = [*range(named), *residual]
    labels = [f"{name} {d + 1}" if node_dim > 1 else name for name in names for d in range(node_dim)]
    labels += [f"residual {latent - named + 1}" for latent in residual]
    z, z_rel = z_NL[:, shown], z_rel_NL[:, shown]
    tables = [np.abs(rank_correlations(codes, values_NF)) for codes in (z, z_rel)]
    tables += [information_shares(codes, values_NF) for codes in (z, z_rel)]
    spearman, spearman_rel, information, information_rel = tables
    return Associations(
        source=source,
        num_images=len(values_NF),
        factors=factors,
        latents=tuple(labels),
        hidden=z_NL.shape[1] - len(shown),
        spearman=spearman,
        spearman_rel=spearman_rel,
        information=information,
        information_rel=information_rel,
    )


def information_shares(codes_NL: NDArray[np.floating], values_NF: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mutual information [L, F] over the factor's entropy, less what chance gives: 1 knows it, 0 says nothing of it.

    Codes in 20 bins of equal width, factors by their values where these are few, else in ``CLASSES`` bins. The plain
    estimate of a few hundred images is far above 0 for independent columns; what a permutation of the images would
    give (the expectation of the hypergeometric model, as in the adjusted score of Vinh et al. 2010) is taken off.
    """
    table = np.full((codes_NL.shape[1], values_NF.shape[1]), np.nan)
    for j, column in enumerate(values_NF.T):
        known = np.isfinite(column)
        if np.unique(column[known]).size < 2:
            continue
        factor = factor_classes(column[known])
        whole = float(entropy(factor[:, None])[0])
        for i, code in enumerate(binned(codes_NL[known]).T):
            counts = contingency_matrix(code, factor, sparse=True).astype(np.int64)
            chance = expected_mutual_information(counts, len(factor))
            told = mutual_info_score(None, None, contingency=counts)
            table[i, j] = max(0.0, (told - chance) / (whole - chance)) if whole > chance else np.nan
    return table


def factor_classes(column: NDArray[np.floating]) -> NDArray[np.int64]:
    """Class numbers [N] of a factor's values: the values themselves where they are few, else bins of equal width."""
    values, classes = np.unique(column, return_inverse=True)
    return classes if len(values) <= MOST_CLASSES else binned(column[:, None], CLASSES)[:, 0]
