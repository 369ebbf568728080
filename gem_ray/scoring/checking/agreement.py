"""How well scores agree with known attributes, with 95 % intervals: the statistics of ``jobs.check_mllm``.

Plain arrays in, numbers out. A figure is NaN where the data cannot give it (one class only, constant scores).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm, rankdata

from gem_ray.scoring.asking.prompts import NUM_DIGITS

LEVEL = 0.95
RESAMPLES, SEED = 1_000, 20_611
CHUNK_VALUES = 1_000_000  # bound of what is resampled at a time
TOP_DIGIT = NUM_DIGITS - 1
NUM_BINS = 10
EDGE = 1e-9


@dataclass(frozen=True)
class Interval:
    """An estimate and the 95 % interval around it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Bin:
    """Answers of a like size: their mean, the mean truth of the same images (both in digits, 0 to 5), how many."""

    scored: float
    true: float
    count: int


UNDEFINED = Interval(np.nan, np.nan, np.nan)


def auroc(scores: NDArray[np.floating], present: NDArray[np.bool_]) -> Interval:
    """Probability that an image with the attribute is scored above one without it (ties half), with its interval.

    The interval is Newcombe's score interval with the variance of Hanley and McNeil (Newcombe 2006, Statistics in
    Medicine 25, method 5): unlike theirs and DeLong's it keeps a width at 0 and 1, so that three lucky images are not
    taken for certainty.
    """
    m, n = int(present.sum()), int((~present).sum())
    if m == 0 or n == 0:
        return UNDEFINED
    area = float((rankdata(scores)[present].sum() - m * (m + 1) / 2) / (m * n))
    z, extra = float(norm.ppf((1 + LEVEL) / 2)), (m + n) / 2 - 1

    def reach(theta: float) -> float:
        spread = 1 + extra * (1 - theta) / (2 - theta) + extra * theta / (1 + theta)
        return float(z * np.sqrt(max(theta * (1 - theta) * spread, 0.0) / (m * n)))

    # At an area of 0 or 1 the reach ends at nothing, so the very end of the scale is kept out of the search.
    low = brentq(lambda theta: theta + reach(theta) - area, 0.0, min(area, 1 - EDGE)) if area > 0 else 0.0
    high = brentq(lambda theta: theta - reach(theta) - area, max(area, EDGE), 1.0) if area < 1 else 1.0
    return Interval(area, float(low), float(high))


def rank_correlation(scores: NDArray[np.floating], truth: NDArray[np.floating]) -> Interval:
    """Spearman's coefficient, with a bootstrap interval over images (percentiles of ``RESAMPLES``, fixed seed)."""
    if len(scores) < 3 or np.ptp(scores) == 0 or np.ptp(truth) == 0:
        return UNDEFINED
    rng = np.random.default_rng(SEED)
    resampled = []
    for start in range(0, RESAMPLES, step := max(1, CHUNK_VALUES // len(scores))):
        rows = rng.integers(len(scores), size=(min(step, RESAMPLES - start), len(scores)))
        resampled.append(_spearman(scores[rows], truth[rows]))
    low, high = np.nanquantile(np.concatenate(resampled), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(_spearman(scores, truth)), float(low), float(high))


def _spearman(x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.float64]:
    """Of the last axis of [..., N]; NaN where either is constant."""
    rank_x, rank_y = rankdata(x, axis=-1), rankdata(y, axis=-1)
    rank_x -= rank_x.mean(axis=-1, keepdims=True)
    rank_y -= rank_y.mean(axis=-1, keepdims=True)
    size = np.sqrt((rank_x**2).sum(axis=-1) * (rank_y**2).sum(axis=-1))
    return np.divide((rank_x * rank_y).sum(axis=-1), size, out=np.full(size.shape, np.nan), where=size > 0)


def accuracy(scores: NDArray[np.floating], present: NDArray[np.bool_], threshold: float) -> float:
    """Share of images whose score is over the threshold exactly where the attribute is present."""
    return float(((scores > threshold) == present).mean()) if len(scores) else np.nan


def best_threshold(scores: NDArray[np.floating], present: NDArray[np.bool_]) -> tuple[float, float]:
    """(threshold, accuracy) of the threshold that is right most often on these very images, hence an upper bound."""
    if len(scores) == 0:
        return np.nan, np.nan
    values, counts = np.unique(scores, return_counts=True)
    positives = np.array([present[scores == value].sum() for value in values])
    # Calling everything over values[k] present: wrong are the positives up to k and the negatives above.
    wrong = np.concatenate(
        [[(~present).sum()], np.cumsum(positives) + (counts - positives).sum() - np.cumsum(counts - positives)]
    )
    edges = np.concatenate([[values[0] - 1e-6], (values[:-1] + values[1:]) / 2, [values[-1] + 1e-6]])
    at = int(wrong.argmin())
    return float(edges[at]), float(1 - wrong[at] / len(scores))


def reliability(scores: NDArray[np.floating], truth: NDArray[np.floating]) -> tuple[Bin, ...]:
    """Scores in ``NUM_BINS`` equal parts of [0, 5], empty ones left out, each with the mean truth beside it.

    Args:
        scores: expectations [N], in digits
        truth: [N] in [0, 1]
    """
    places = np.minimum((scores / TOP_DIGIT * NUM_BINS).astype(int), NUM_BINS - 1)
    found = [(places == place) for place in np.unique(places)]
    return tuple(
        Bin(float(scores[rows].mean()), float(TOP_DIGIT * truth[rows].mean()), int(rows.sum())) for rows in found
    )


def calibration_error(bins: tuple[Bin, ...]) -> float:
    """Expected calibration error: mean |scored - true| over the bins, by their counts, in digits."""
    total = sum(part.count for part in bins)
    return sum(abs(part.scored - part.true) * part.count for part in bins) / total if total else np.nan
