"""SAP, the separated attribute predictability: how far the one code that predicts a factor best is ahead of the next.

Kumar, Sattigeri and Balakrishnan 2018, "Variational Inference of Disentangled Latent Concepts from Unlabeled
Observations", section 3. In [0, 1].
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gem_ray.evaluation.disentanglement.information import top_two_gap
from gem_ray.evaluation.disentanglement.points import check_rows, checked_codes, factor_classes

_LEAST_VARIANCE = 1e-12


class Sap(NamedTuple):
    """The mean gap, and what it is made of."""

    score: float  # [0, 1]
    predictability: NDArray[np.float64]  # [L, F] test accuracy, or squared correlation


def sap_discrete(
    codes: NDArray[np.floating],
    factors: NDArray[np.generic],
    test_codes: NDArray[np.floating],
    test_factors: NDArray[np.generic],
    *,
    seed: int,
    workers: int = 1,
) -> Sap:
    """SAP of codes [N, L] on classes [N, F], by accuracy on test points of a linear SVM on one code at a time.

    LinearSVC(C=.01, class_weight="balanced") as in disentanglement_lib. A threshold on one code cannot cut out a class
    from the middle, so that a perfect code stays far below 1 (.44 on 3 to 10 classes). The solver is scale-dependent.
    Dead codes predict one class only.

    Args:
        workers: threads; the same result for any number

    Raises:
        DataError: of ``points``
    """
    from sklearn.svm import LinearSVC  # a second to import, hence not at the top

    codes, test_codes = checked_codes(codes), checked_codes(test_codes)
    classes, test_classes = factor_classes(factors, test_factors)
    check_rows(codes, classes)
    check_rows(test_codes, test_classes)

    def accuracy(code: int, factor: int) -> float:
        model = LinearSVC(C=0.01, class_weight="balanced", random_state=seed)
        model.fit(codes[:, [code]], classes[:, factor])
        return float(model.score(test_codes[:, [code]], test_classes[:, factor]))

    shape = codes.shape[1], classes.shape[1]
    pairs = list(product(range(shape[0]), range(shape[1])))
    with ThreadPoolExecutor(workers) as pool:
        matrix = np.array(list(pool.map(lambda pair: accuracy(*pair), pairs))).reshape(shape)
    return Sap(float(top_two_gap(matrix).mean()), matrix)


def sap_continuous(codes: NDArray[np.floating], values: NDArray[np.number]) -> Sap:
    """SAP of codes [N, L] on factors' values [N, F], by squared correlation; for factors whose order means something.

    Dead codes (variance up to 1e-12) count as uncorrelated. Any affine rescaling changes nothing.

    Raises:
        DataError: of ``points``
    """
    codes, targets = checked_codes(codes), np.asarray(values, dtype=np.float64)
    check_rows(codes, targets)
    codes, targets = codes - codes.mean(axis=0), targets - targets.mean(axis=0)
    variance = (codes**2).sum(axis=0)
    alive = variance > _LEAST_VARIANCE * (len(codes) - 1)
    covariance = codes.T @ targets
    matrix = np.where(
        alive[:, None], covariance**2 / (np.where(alive, variance, 1)[:, None] * (targets**2).sum(axis=0)), 0.0
    )
    return Sap(float(top_two_gap(matrix).mean()), matrix)
