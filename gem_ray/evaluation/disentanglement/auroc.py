"""Exact area under the ROC curve of many scores for many binary labels at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


def aurocs(values: NDArray[np.floating], positive: NDArray[np.generic]) -> NDArray[np.float64]:
    """AUROC [A, L] in [0, 1] of values [N, L] for binary labels [N, A] (0 and 1), ties counted half.

    By the sum of the ranks of the positive points (Mann and Whitney 1947); equal to scikit-learn's roc_auc_score, which
    sorts once for every pair. NaN for a label without positive or without negative points.
    """
    labels = np.asarray(positive, dtype=np.float64)
    num_positive = labels.sum(axis=0)[:, None]
    pairs = num_positive * (len(labels) - num_positive)
    wins = labels.T @ rankdata(values, axis=0) - num_positive * (num_positive + 1) / 2
    return np.where(pairs > 0, wins / np.where(pairs > 0, pairs, 1), np.nan)
