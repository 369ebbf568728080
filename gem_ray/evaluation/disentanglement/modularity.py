"""Modularity (is each code about one factor?) and explicitness (can factors be read off the codes linearly?).

Ridgeway and Mozer 2018, "Learning Deep Disentangled Embeddings with the F-Statistic Loss", section 3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import DataError
from gem_ray.evaluation.disentanglement.auroc import aurocs
from gem_ray.evaluation.disentanglement.information import binned, mutual_information
from gem_ray.evaluation.disentanglement.points import check_rows, checked_codes, factor_classes, moving_codes


class Modularity(NamedTuple):
    """In [0, 1]."""

    score: float  # mean over all codes
    per_code: NDArray[np.float64]  # [L]; 0 for a code that knows nothing at all


class Explicitness(NamedTuple):
    """Area under the ROC curve, macro-averaged over classes; .5 is chance."""

    score: float  # mean over factors, on the test points
    train: float
    per_factor: NDArray[np.float64]  # [F] on the test points; NaN where a factor has one value there


def modularity(codes: NDArray[np.floating], factors: NDArray[np.generic]) -> Modularity:
    """Modularity of codes [N, L] on factors [N, F] by binned mutual information, F at least 2.

    The mean goes over all codes, as in disentanglement_lib: dead codes count 0, and codes of noise count by the ratio
    of their chance informations, so that a perfect code with five idle ones beside it has .88.

    Raises:
        DataError: of ``points``, or only one factor
    """
    codes, (classes,) = checked_codes(codes), factor_classes(factors)
    check_rows(codes, classes)
    if classes.shape[1] < 2:
        raise DataError("1 factor: modularity asks which of several factors a code is about, give at least 2")
    return modularity_of(mutual_information(binned(codes), classes))


def modularity_of(information: NDArray[np.float64]) -> Modularity:
    """Modularity from mutual information [L, F]: 1 - (sum of squares less the greatest) / (greatest x (F - 1))."""
    squares = information**2
    greatest = squares.max(axis=1)
    # Binned information of a constant code is 0 up to rounding; its square would still divide by itself.
    knows = greatest > 1e-20
    rest = squares.sum(axis=1) - greatest
    per_code = np.where(knows, 1 - rest / (np.where(knows, greatest, 1) * (information.shape[1] - 1)), 0.0)
    return Modularity(float(per_code.mean()), per_code)


def explicitness(
    codes: NDArray[np.floating],
    factors: NDArray[np.generic],
    test_codes: NDArray[np.floating],
    test_factors: NDArray[np.generic],
    *,
    seed: int,
) -> Explicitness:
    """Explicitness of codes [N, L] on factors [N, F]: one-against-rest AUROC of a logistic regression on test points.

    On codes standardised by the train points, as in disentanglement_lib; the AUROC itself, where the paper rescales it
    to 2 AUROC - 1. disentanglement_lib divides dead codes by their deviation of 0 and fails: here they are left out,
    and a code of dead ones only has .5. Classes that are absent from either set are left out of the mean.

    Raises:
        DataError: of ``points``
    """
    codes, test_codes = checked_codes(codes), checked_codes(test_codes)
    classes, test_classes = factor_classes(factors, test_factors)
    check_rows(codes, classes)
    check_rows(test_codes, test_classes)
    moving = moving_codes(codes)
    if not moving.any():
        return Explicitness(0.5, 0.5, np.full(classes.shape[1], 0.5))
    mean, deviation = codes[:, moving].mean(axis=0), codes[:, moving].std(axis=0)
    train, test = ((one[:, moving] - mean) / deviation for one in (codes, test_codes))
    areas = np.array(
        [_areas(train, classes[:, k], test, test_classes[:, k], seed) for k in range(classes.shape[1])]
    )  # [F, 2]
    return Explicitness(float(np.nanmean(areas[:, 1])), float(areas[:, 0].mean()), areas[:, 1])


def _areas(
    train: NDArray[np.float64],
    classes: NDArray[np.int64],
    test: NDArray[np.float64],
    test_classes: NDArray[np.int64],
    seed: int,
) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression  # a second to import, hence not at the top

    model = LogisticRegression(random_state=seed).fit(train, classes)
    train_area, test_area = (
        np.diag(aurocs(model.predict_proba(points), labels[:, None] == model.classes_))
        for points, labels in ((train, classes), (test, test_classes))
    )
    known = test_area[np.isfinite(test_area)]
    return float(train_area.mean()), float(known.mean()) if len(known) else float("nan")
