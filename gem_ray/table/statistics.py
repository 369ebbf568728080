"""What can be said of a few seeds: mean and spread, and paired differences with Student's t.

Intervals and p-values take seeds to be the only source of chance: the data and the images evaluated are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


class Spread(NamedTuple):
    """Values of one metric over seeds.

    Args:
        n: seeds with a value
        mean: NaN for n = 0
        deviation: sample standard deviation; NaN for n < 2
        low, high: 95 % interval of the mean by Student's t; NaN for n < 2
    """

    n: int
    mean: float
    deviation: float
    low: float
    high: float


class Paired(NamedTuple):
    """A method minus the reference, seed by seed.

    Args:
        n: seeds that both have a value of
        mean: of the differences; NaN for n = 0
        low, high: 95 % interval of the mean by Student's t; NaN for n < 2
        p: two-sided, of no difference, by the paired t-test; NaN for n < 2
        same_sign: differences with the sign of the mean
        differences: by seed, ascending
    """

    n: int
    mean: float
    low: float
    high: float
    p: float
    same_sign: int
    differences: tuple[float, ...]

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def spread(values_by_seed: Mapping[int, float | None]) -> Spread:
    """Mean, deviation and interval of the known values."""
    values = np.array([value for value in values_by_seed.values() if _known(value)], dtype=np.float64)
    if values.size == 0:
        return Spread(0, math.nan, math.nan, math.nan, math.nan)
    mean = float(values.mean())
    if values.size == 1:
        return Spread(1, mean, math.nan, math.nan, math.nan)
    deviation = float(values.std(ddof=1))
    low, high = _t_interval(mean, deviation, values.size)
    return Spread(values.size, mean, deviation, low, high)


def paired(method: Mapping[int, float | None], reference: Mapping[int, float | None]) -> Paired:
    """Differences of a method to the reference over the seeds that both have."""
    seeds = [seed for seed in sorted(method) if _known(method[seed]) and _known(reference.get(seed))]
    ours = np.array([method[seed] for seed in seeds], dtype=np.float64)
    theirs = np.array([reference[seed] for seed in seeds], dtype=np.float64)
    differences = ours - theirs
    if not seeds:
        return Paired(0, math.nan, math.nan, math.nan, math.nan, 0, ())
    mean = float(differences.mean())
    same_sign = int((np.sign(differences) == np.sign(mean)).sum())
    if len(seeds) == 1:
        return Paired(1, mean, math.nan, math.nan, math.nan, same_sign, tuple(differences.tolist()))
    deviation = float(differences.std(ddof=1))
    low, high = _t_interval(mean, deviation, len(seeds))
    # As scipy's ttest_rel, which warns about differences that are nearly equal.
    error = deviation / math.sqrt(len(seeds))
    p = float(2 * stats.t.sf(abs(mean) / error, len(seeds) - 1)) if error else float(mean == 0)
    return Paired(len(seeds), mean, low, high, p, same_sign, tuple(differences.tolist()))


def _t_interval(mean: float, deviation: float, n: int) -> tuple[float, float]:
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * deviation / math.sqrt(n)
    return mean - half, mean + half


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def best_of(means: Mapping[str, Spread], higher_is_better: bool) -> tuple[str | None, tuple[str, ...]]:
    """The method with the best mean, and those within the spread of it.

    Within: the means are no further apart than the larger of both standard deviations. With one seed there is no
    spread, and only equal means are within.
    """
    known = {name: value for name, value in means.items() if value.n}
    if not known:
        return None, ()
    sign = 1.0 if higher_is_better else -1.0
    best = max(known, key=lambda name: sign * known[name].mean)
    deviation = {name: 0.0 if math.isnan(value.deviation) else value.deviation for name, value in known.items()}
    within = tuple(
        name
        for name, value in known.items()
        if name != best and abs(value.mean - known[best].mean) <= max(deviation[name], deviation[best])
    )
    return best, within
