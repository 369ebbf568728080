"""Mutual information of codes and factors by histogram, in nats: the base of MIG, modularity and the pairwise score.

Settings of disentanglement_lib (Locatello et al. 2019): each code in 20 bins of equal width from its least to its
greatest value over the sample. The estimate is biased upwards by about (bins - 1)(classes - 1) / 2N, and an outlier
squeezes everything else into few bins; affine rescaling changes nothing, other monotone rescaling does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 20


def binned(values: NDArray[np.number], num_bins: int = NUM_BINS) -> NDArray[np.int64]:
    """Bins [N, L] in 0 .. num_bins - 1 of values [N, L], each column on its own; a constant one falls into one bin."""
    columns = np.asarray(values, dtype=np.float64).T
    # Edges through numpy, not by (x - min) / width: values on an edge then fall where the reference puts them.
    return np.stack([np.digitize(x, np.histogram_bin_edges(x, num_bins)[:-1]) - 1 for x in columns], axis=1)


def entropy(classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Entropy [F] in nats of class numbers [N, F]."""
    return np.array([_entropy(column) for column in classes.T])


def mutual_information(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
    """I(first_i; second_j) [L, F] in nats of class numbers [N, L] and [N, F]; never below 0."""
    width = int(second.max()) + 1
    joint = np.array([[_entropy(a * width + b) for b in second.T] for a in first.T])
    return np.maximum(entropy(first)[:, None] + entropy(second)[None, :] - joint, 0)


def top_two_gap(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Greatest less second greatest value of each column [F] of a matrix [L, F], L at least 2."""
    ordered = np.sort(matrix, axis=0)
    return ordered[-1] - ordered[-2]


def _entropy(column: NDArray[np.int64]) -> float:
    counts = np.bincount(column)
    shares = counts[counts > 0] / len(column)
    return float(-(shares * np.log(shares)).sum())
