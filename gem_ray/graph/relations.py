"""Somers' D between attributes: from scores of images to directed, signed strengths with standard errors.

Convention, everywhere: ``strength[i, j]`` is "i acts on j", Somers' D(A_j | A_i) = (Nc - Nd) / (pairs not tied on i),
that is ``scipy.stats.somersd(A_i, A_j)``. For attributes that are absent or present it is P(j | i) - P(j | not i);
CelebA gives .39 for male on beard and .69 for beard on male. Both directions share their numerator, so they differ by
ties alone: keep the ties (GEM paper, section 3.2; its printed formula is the transpose of ours).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from gem_ray.errors import GraphError
from gem_ray.graph.concordance import Ranked, pair_balance, ranked
from gem_ray.graph.contingency import (
    Estimates,
    estimates_of_distributions,
    estimates_of_levels,
    jackknife_error,
    somers_d,
)
from gem_ray.graph.rarity import careful_error

ESTIMATORS = ("expected_table", "most_likely", "rounded", "expectation")
MOST_LEVELS = 16
"""Attributes of no more different values than this are counted in tables."""
CLOSEST_TO_ONE = 1 - 1e-9

__all__ = [
    "ESTIMATORS",
    "Relations",
    "relations_from_probabilities",
    "relations_from_scores",
    "relations_from_values",
    "somers_d",
    "somers_d_of_values",
    "strength_interval",
    "strength_z",
]


@dataclass(frozen=True, kw_only=True)
class Relations:
    """Strength of every directed pair, all arrays [n, n] indexed [source, target].

    Args:
        strength: float64 in [-1, 1]; 0 on the diagonal and where source or target is constant
        standard_error: float64 > 0, of ``strength_interval``; infinite on the diagonal, where source or target is
            constant, and where the strength hangs on one image or two (see ``rarity``)
        num_observations: int64, images in which both attributes are known
    """

    strength: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    num_observations: NDArray[np.int64]


def strength_z(strength: NDArray[np.floating], standard_error: NDArray[np.floating]) -> NDArray[np.float64]:
    """Strengths in units of their standard error, on the scale of Fisher's z = artanh(strength); for a test of none.

    There the error is se / (1 - strength^2), and an estimate is nearer to normal than a strength close to 1 is. An
    exact strength (an error of 0) is infinitely far from 0, unless it is 0.
    """
    z, error = _fisher(strength, standard_error)
    return np.divide(z, error, out=np.copysign(np.where(z == 0, 0.0, np.inf), z), where=error > 0)


def strength_interval(
    strength: NDArray[np.floating], standard_error: NDArray[np.floating], level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Confidence interval of strengths, symmetric in Fisher's z: lower and upper ends in [-1, 1].

    With the standard errors of this module 95 % intervals cover the truth in 92 to 98 % of samples; in more where a
    quadrant of the pair (see ``rarity``) expects fewer than 5 images, and in as few as 85 % where an attribute has
    fewer than 10 images off its most common value.
    """
    z, error = _fisher(strength, standard_error)
    half = ndtri(0.5 + level / 2) * error
    return np.minimum(np.tanh(z - half), strength), np.maximum(np.tanh(z + half), strength)


def _fisher(
    strength: NDArray[np.floating], standard_error: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    error = np.asarray(standard_error, dtype=np.float64)
    # artanh has no value at 1, and its error none there: no nearer to 1 than the error allows.
    limit = np.clip(1 - error, 0.0, CLOSEST_TO_ONE)
    s = np.clip(np.asarray(strength, dtype=np.float64), -limit, limit)
    return np.arctanh(s), error / (1 - s**2)


def relations_from_scores(probabilities: NDArray[np.floating], estimator: str) -> Relations:
    """Relations of scores by one of the ``ESTIMATORS`` of ``scoring.estimator``.

    ``python -m benchmarks.relations estimators`` compares them: the most likely digit errs least unless the model
    hardly sees the attribute, where the expected table, too weak, still has signs and directions; the real-valued
    expectation breaks the ties and so has no direction at all.

    Args:
        probabilities: [N, n, digits], as in ``relations_from_probabilities``
        estimator: ``expected_table``, or Somers' D of the ``most_likely`` digit (GEM paper), of the ``rounded``
            expectation or of the real-valued ``expectation``

    Raises:
        GraphError: another estimator, or a row that is neither a distribution nor missing
    """
    if estimator not in ESTIMATORS:
        raise GraphError(f"estimator {estimator!r} is not known; choose one of {', '.join(ESTIMATORS)}")
    if estimator == "expected_table":
        return relations_from_probabilities(probabilities)
    p, known = _check_probabilities(probabilities)
    expectation = p @ np.arange(p.shape[-1], dtype=np.float64)
    values = {"most_likely": p.argmax(-1), "rounded": np.rint(expectation), "expectation": expectation}[estimator]
    return relations_from_values(np.where(known, values, np.nan))


def relations_from_probabilities(probabilities: NDArray[np.floating]) -> Relations:
    """Relations of digit distributions, by the expected contingency table of each pair.

    T_ij[a, b] is the mean over images of p_i(a) p_j(b); its Somers' D keeps ties, so the asymmetry. Doubt makes it too
    weak, since the doubts about two attributes of an image are taken to be independent.

    Args:
        probabilities: [N, n, digits] of every image and attribute, summing to 1 over the digits; a row of NaN where the
            answer is missing (left out pair by pair)

    Raises:
        GraphError: a row that is neither a distribution nor missing
    """
    p, known = _check_probabilities(probabilities)
    mode = p.sum(0).argmax(-1)
    off_mode = 1 - np.take_along_axis(p, mode[None, :, None], axis=2)[..., 0]
    return _relations(estimates_of_distributions(p, known), off_mode, known)


def somers_d_of_values(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """Somers' D(y | x) of real-valued samples [N], exact with ties, in O(N log N); 0 where x is constant."""
    by_x = ranked(np.asarray(x))
    not_tied = len(by_x.order) ** 2 - int(by_x.tie_sizes.sum())
    return float(pair_balance(by_x, ranked(np.asarray(y))).sum() / not_tied) if not_tied else 0.0


def relations_from_values(values: NDArray[np.floating]) -> Relations:
    """Relations of real-valued attributes (true values, rounded or expected scores).

    Attributes of up to ``MOST_LEVELS`` values are counted in tables; a pair with another one takes O(N log N).

    Args:
        values: [N, n]; NaN where missing (left out pair by pair)

    Raises:
        GraphError: an infinite value
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or np.isinf(values).any():
        raise GraphError(f"values must be finite or NaN, of shape [images, attributes], not of shape {values.shape}")
    known = ~np.isnan(values)
    n = values.shape[1]
    levels = np.full(values.shape, -1)
    off_mode = np.zeros(values.shape)
    num_levels = np.zeros(n, dtype=np.int64)
    for j in range(n):
        found, level, count = np.unique(values[known[:, j], j], return_inverse=True, return_counts=True)
        levels[known[:, j], j], num_levels[j] = level, len(found)
        off_mode[known[:, j], j] = level != (count.argmax() if len(count) else 0)
    few = np.flatnonzero(num_levels <= MOST_LEVELS)
    strength, error = np.zeros((n, n)), np.full((n, n), np.inf)
    if len(few):
        counted = estimates_of_levels(levels[:, few], max(2, int(num_levels[few].max())))
        strength[np.ix_(few, few)], error[np.ix_(few, few)] = counted.strength, counted.standard_error
    levels = levels.astype(np.min_scalar_type(int(num_levels.max(initial=1))))  # numpy sorts 16 bits by radix
    whole = {j: ranked(levels[known[:, j], j]) for j in range(n)} if len(few) < n else {}
    for i in range(n):
        for j in range(i + 1, n):
            if max(num_levels[i], num_levels[j]) > MOST_LEVELS:
                alike = bool((known[:, i] == known[:, j]).all())
                both = known[:, i] & known[:, j]
                x, y = (whole[k] if alike else ranked(levels[both, k]) for k in (i, j))
                strength[[i, j], [j, i]], error[[i, j], [j, i]] = _estimates_of_ranks(x, y)
    return _relations(Estimates(strength, error), off_mode, known)


def _estimates_of_ranks(x: Ranked, y: Ranked) -> tuple[list[float], list[float]]:
    """Strength and jackknife error of x on y and of y on x; 0 and infinity where either is constant."""
    count = len(x.order)
    ties = (x.tie_sizes, y.tie_sizes)
    if count < 2 or any(sizes[0] == count for sizes in ties):
        return [0.0, 0.0], [np.inf, np.inf]
    balance = pair_balance(x, y)
    strengths, errors = [], []
    for sizes in ties:
        not_tied = count**2 - int(sizes.sum())
        strength = balance.sum() / not_tied
        change = -2.0 * (count - sizes)  # of the pairs that are not tied, as one image is left out
        possible = not_tied + change > 0
        left = -(2.0 * balance + strength * change) / np.where(possible, not_tied + change, 1.0)
        error = jackknife_error(left.sum(), left @ left, np.array(count))
        strengths.append(float(strength))
        errors.append(float(error) if possible.all() else np.inf)
    return strengths, errors


def _relations(found: Estimates, off_mode: NDArray[np.float64], known: NDArray[np.bool_]) -> Relations:
    count = known.T.astype(np.int64) @ known.astype(np.int64)
    error = careful_error(found.standard_error, off_mode, known)
    return Relations(strength=found.strength, standard_error=error, num_observations=count)


def _check_probabilities(probabilities: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 3 or p.shape[2] < 2:
        raise GraphError(f"probabilities must have the shape [images, attributes, digits], not {p.shape}")
    missing: NDArray[np.bool_] = np.all(np.isnan(p), axis=-1)
    p = np.where(missing[..., None], 0.0, p)
    good = missing | ((p >= 0).all(-1) & (np.abs(p.sum(-1) - 1) < 1e-3))
    if not good.all():
        image, attribute = np.argwhere(~good)[0]
        raise GraphError(
            f"probabilities of image {image}, attribute {attribute} are {p[image, attribute].tolist()}: they must sum "
            "to 1 and not be negative; mark a missing answer by NaN in every digit"
        )
    return p / np.where(missing, 1.0, p.sum(-1))[..., None], ~missing
