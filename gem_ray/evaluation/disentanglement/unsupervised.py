"""Scores that need no factors: how far the codes depend on each other. 0 is independent; none has an upper bound.

Locatello et al. 2019, "Challenging Common Assumptions", appendix: total correlation and Wasserstein correlation of a
Gaussian with the codes' covariance, and the mean mutual information of two codes. Low is no proof of disentanglement:
independent noise has the lowest of all.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gem_ray.evaluation.disentanglement.information import binned, mutual_information
from gem_ray.evaluation.disentanglement.points import checked_codes, moving_codes


class Dependence(NamedTuple):
    """How far codes depend on each other."""

    total_correlation: float  # nats, of codes that vary; infinite where one is a linear function of others
    wasserstein: float  # squared 2-Wasserstein distance, in squared units of the codes
    wasserstein_share: float  # the same over the total variance
    pairwise_information: float  # nats, mean over all ordered pairs of codes, dead ones too


def dependence(codes: NDArray[np.floating]) -> Dependence:
    """The unsupervised scores of codes [N, L].

    Dead codes are left out of the Gaussian scores, where disentanglement_lib takes the logarithm of 0; all else
    as there. Total correlation knows only linear dependence.

    Raises:
        DataError: of ``points``
    """
    codes = checked_codes(codes)
    moving = codes[:, moving_codes(codes)]
    covariance = np.atleast_2d(np.cov(moving, rowvar=False)) if moving.shape[1] else np.zeros((0, 0))
    distance, variance = gaussian_wasserstein(covariance), float(np.trace(covariance))
    bins = binned(codes)
    information = mutual_information(bins, bins)
    num_pairs = codes.shape[1] * (codes.shape[1] - 1)
    return Dependence(
        total_correlation=gaussian_total_correlation(covariance),
        wasserstein=distance,
        wasserstein_share=distance / variance if variance > 0 else 0.0,
        pairwise_information=float((information.sum() - np.trace(information)) / num_pairs),
    )


def gaussian_total_correlation(covariance: NDArray[np.float64]) -> float:
    """KL divergence in nats of a Gaussian from the product of its marginals: -1/2 log det of its correlation [L, L]."""
    if len(covariance) < 2:
        return 0.0
    deviation = np.sqrt(np.diag(covariance))
    eigenvalues = np.linalg.eigvalsh(covariance / np.outer(deviation, deviation))
    # At a copied code the least eigenvalue is rounding, of either sign: its logarithm would be some number near 18.
    if eigenvalues.min() <= len(covariance) * np.finfo(np.float64).eps:
        return math.inf
    return float(-0.5 * np.log(eigenvalues).sum())


def gaussian_wasserstein(covariance: NDArray[np.float64]) -> float:
    """Squared 2-Wasserstein distance of a Gaussian from the product of its marginals, of its covariance S [L, L].

    2 tr S - 2 tr (D^1/2 S D^1/2)^1/2 with D the diagonal of S; by eigenvalues, the matrix being symmetric.
    """
    deviation = np.sqrt(np.diag(covariance))
    eigenvalues = np.linalg.eigvalsh(covariance * np.outer(deviation, deviation)) if len(covariance) else np.zeros(0)
    return float(2 * np.trace(covariance) - 2 * np.sqrt(np.maximum(eigenvalues, 0)).sum())
