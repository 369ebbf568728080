"""How often an MLLM says nothing: the zero-scoring rate and the failure rate of a scan, as the GEM paper reports them.

The paper gives no formula. Here a question is zero-scored where the most likely digit of its answer is 0, and has
failed where no digit could be read from it at all; a failed question is never a zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Rates by attribute [n] and over all questions; None or NaN where nothing was answered, or nothing asked.

    Args:
        zero, all_zero: share of the answered questions whose most likely digit is 0
        failure, all_failure: share of the asked questions without a usable answer
    """

    zero: NDArray[np.float64]
    failure: NDArray[np.float64]
    all_zero: float | None
    all_failure: float | None


def scan_rates(probabilities: NDArray[np.floating], asked: NDArray[np.bool_] | None = None) -> Rates:
    """Rates of answers about N images and n attributes.

    Args:
        probabilities: [N, n, 6] of the digits, NaN where an answer is missing (``ScoreTable.probabilities``)
        asked: [N, n] which questions were asked (``ScoreTable.asked``), None for all
    """
    answered = ~np.isnan(probabilities[..., 0])
    were_asked = np.ones(answered.shape, dtype=bool) if asked is None else asked
    zero = answered & (np.nan_to_num(probabilities).argmax(axis=-1) == 0)
    failed = were_asked & ~answered
    return Rates(
        zero=_share(zero.sum(axis=0), answered.sum(axis=0)),
        failure=_share(failed.sum(axis=0), were_asked.sum(axis=0)),
        all_zero=float(zero.sum() / answered.sum()) if answered.any() else None,
        all_failure=float(failed.sum() / were_asked.sum()) if were_asked.any() else None,
    )


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
