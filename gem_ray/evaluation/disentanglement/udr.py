"""Unsupervised disentanglement ranking: models whose codes come back in other seeds are thought the disentangled ones.

Duan et al. 2020, "Unsupervised Model Selection for Variational Disentangled Representation Learning", section 4. In
[0, 1], of several models of one configuration that differ in their seed, on the same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from gem_ray.errors import DataError
from gem_ray.evaluation.disentanglement.points import check_rows, checked_codes

LEAST_KL = 0.01
_LASSO_ALPHA = 0.1


class Udr(NamedTuple):
    """One score per model, and what they are made of."""

    scores: NDArray[np.float64]  # [M] median over the other models
    pairwise: NDArray[np.float64]  # [M, M] of model i's codes in terms of model j's; 0 on the diagonal


def udr(codes: Sequence[NDArray[np.floating]], kl: Sequence[NDArray[np.floating]], relation: str = "lasso") -> Udr:
    """UDR of M models with codes [N, L_m] of the same N images and the mean KL [L_m] in nats of each code.

    Codes with a KL up to .01 are uninformative and left out; a model that has no others gets 0 with everyone. As in
    disentanglement_lib: the two directions are averaged apart and then together, where the paper's eq. 3 sums both over
    the number of informative codes of the two models. Sign and order of codes change nothing, nor does scale.

    Args:
        relation: ``lasso`` (|weights| at alpha .1 on standardised codes) or ``spearman`` (|rank correlation|)

    Raises:
        DataError: of ``points``, fewer than two models, numbers of KLs and codes that differ, or another relation
    """
    models = [checked_codes(one) for one in codes]
    if len(models) < 2 or len(models) != len(kl):
        raise DataError(f"{len(models)} models, KLs of {len(kl)}: UDR compares at least two models, each with its KL")
    if relation not in ("lasso", "spearman"):
        raise DataError(f"relation={relation!r}: one of lasso, spearman")
    informative = []
    for one, divergence in zip(models, kl):
        check_rows(models[0], one)
        if np.shape(divergence) != (one.shape[1],):
            raise DataError(f"KL of shape {np.shape(divergence)} for codes of shape {one.shape}: one number per code")
        informative.append(_standardised(one[:, np.asarray(divergence) > LEAST_KL]))
    relate = _lasso if relation == "lasso" else _spearman
    pairwise = np.zeros((len(models), len(models)))
    for i, first in enumerate(informative):
        for j, second in enumerate(informative):
            if i != j and first.shape[1] and second.shape[1]:
                pairwise[i, j] = relative_strength(relate(first, second))
    # The column, not the row: disentanglement_lib's choice; with lasso the two differ a little.
    scores = [np.median(np.delete(pairwise[:, m], m)) for m in range(len(models))]
    return Udr(np.array(scores), pairwise)


def relative_strength(relation: NDArray[np.float64]) -> float:
    """How near a matrix of sizes [L_i, L_j] is to one entry per row and per column: mean of max^2 / sum, both ways."""
    directions = []
    for axis in (0, 1):
        total = relation.sum(axis=axis)
        directions.append(np.where(total > 0, relation.max(axis=axis) ** 2 / np.where(total > 0, total, 1), 0).mean())
    return float(np.mean(directions))


def _standardised(codes: NDArray[np.float64]) -> NDArray[np.float64]:
    deviation = codes.std(axis=0)
    return (codes - codes.mean(axis=0)) / np.where(deviation > 0, deviation, 1)


def _lasso(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    from sklearn.linear_model import Lasso  # a second to import, hence not at the top

    weights = Lasso(alpha=_LASSO_ALPHA).fit(first, second).coef_
    return np.abs(weights.reshape(second.shape[1], first.shape[1]).T)


def _spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    ranks = [_standardised(rankdata(one, axis=0)) for one in (first, second)]
    return np.abs(ranks[0].T @ ranks[1]) / len(first)
