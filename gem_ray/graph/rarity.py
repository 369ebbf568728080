"""What a jackknife cannot know of attributes that few images show, and standard errors that allow for it.

Leaving out one image at a time says nothing of what the sample has not seen. Where 1.5 images are expected to show two
unrelated attributes together, one sample in five has none and every delete-one estimate agrees that there can be none:
nominal 95 % intervals cover .33 to .9 (``python -m benchmarks.relations coverage``). So an attribute's images are split
into those that have its most common value and the rest, and a pair's into four quadrants:

* a quadrant of fewer than ``SPARSE`` images: the error is at least that of the difference of the two shares, with one
  image added to each quadrant (Agresti and Caffo 2000, The American Statistician 54). This is careful: of a quadrant
  that is empty because it must be, the interval is too wide
* fewer than ``FEWEST`` images off the most common value: infinite
* else the jackknife, widened by the degrees of freedom of the smaller side
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SPARSE = 5.0
FEWEST = 3.0


def careful_error(
    standard_error: NDArray[np.float64], off_mode: NDArray[np.float64], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The errors [n, n] of Somers' D, no smaller than the rarest part of the sample allows.

    Args:
        standard_error: of the jackknife
        off_mode: [N, n] in [0, 1], how surely an image has another value than the attribute's most common one
        known: [N, n]
    """
    present = known.astype(np.float64)
    off = np.where(known, off_mode, 0.0)
    count = present.T @ present
    source = off.T @ present  # [i, j]: images off the mode of i, of those in which j is known too
    target = source.T
    both = off.T @ off
    neither = count - source - target + both
    fewest = np.minimum(source, target)
    error = np.where(fewest >= FEWEST, standard_error * np.sqrt(1 + 1 / np.maximum(fewest, 1.0)), np.inf)
    smallest = np.minimum(np.minimum(both, neither), np.minimum(source, target) - both)
    # A graded attribute has no side that is rare for want of images: its empty quadrants are a strong relation's.
    sparse = (smallest < SPARSE) & (2 * np.maximum(source, target) < count)
    rest = np.maximum(count - source, 0.0)
    variance = _share_variance(both, source) + _share_variance(target - both, rest)
    return np.where(sparse, np.maximum(error, np.sqrt(variance)), error)


def _share_variance(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    share = np.clip((part + 1) / (whole + 2), 0.0, 1.0)
    return share * (1 - share) / (whole + 2)
