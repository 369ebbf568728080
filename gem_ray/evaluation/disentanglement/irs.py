"""Interventional robustness: how little a code moves while the factor it is about is held fixed.

Suter, Miladinovic, Schoelkopf and Bauer 2019, "Robustly Disentangled Causal Mechanisms", section 4. In [0, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gem_ray.evaluation.disentanglement.information import NUM_BINS, binned
from gem_ray.evaluation.disentanglement.points import check_rows, checked_codes, factor_classes, moving_codes

QUANTILE = 0.99


class Irs(NamedTuple):
    """Robustness, over codes that vary."""

    score: float  # mean of per_code weighted by each code's greatest deviation, [0, 1]
    per_code: NDArray[np.float64]  # [A] greatest over factors
    matrix: NDArray[np.float64]  # [A, F]
    active: NDArray[np.bool_]  # [L] which codes the A rows are of


def irs(codes: NDArray[np.floating], factors: NDArray[np.generic], quantile: float = QUANTILE) -> Irs:
    """IRS of codes [N, L] on factors [N, F], each factor in up to 20 bins of equal width.

    As disentanglement_lib and the authors' code have it, for independent factors: deviations from the mean given the
    fixed factor, their .99 quantile (the paper: their maximum), averaged over the factor's values, relative to the
    code's greatest deviation from its mean. Codes of noise keep about .33, and a high score alone says little. Dead
    codes are left out; 0 where all are dead.

    Raises:
        DataError: of ``points``
    """
    codes, (classes,) = checked_codes(codes), factor_classes(factors)
    check_rows(codes, classes)
    active = moving_codes(codes)
    if not active.any():
        return Irs(0.0, np.zeros(0), np.zeros((0, classes.shape[1])), active)
    moving, groups = codes[:, active], binned(classes, NUM_BINS)
    greatest = np.abs(moving - moving.mean(axis=0)).max(axis=0)
    spread = np.stack([_mean_spread(moving, group, quantile) for group in groups.T], axis=1)
    matrix = 1 - spread / greatest[:, None]
    per_code = matrix.max(axis=1)
    return Irs(float(np.average(per_code, weights=greatest)), per_code, matrix, active)


def _mean_spread(codes: NDArray[np.float64], group: NDArray[np.int64], quantile: float) -> NDArray[np.float64]:
    """Quantile [A] of |code - its mean in the group|, averaged over groups."""
    members = (codes[group == value] for value in np.unique(group))
    return np.mean([np.quantile(np.abs(one - one.mean(axis=0)), quantile, axis=0) for one in members], axis=0)
