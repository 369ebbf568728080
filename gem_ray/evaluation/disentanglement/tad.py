"""TAD, the total AUROC difference: for data with binary labels, how far one code is ahead in telling a label.

Yeats, Liu, Womble and Li 2022, "NashAE: Disentangling Representations through Adversarial Covariance Minimization",
section 4. It is a sum over the attributes that are captured, so it grows with their number: say how many.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import DataError
from gem_ray.evaluation.disentanglement.auroc import aurocs
from gem_ray.evaluation.disentanglement.information import entropy, mutual_information, top_two_gap
from gem_ray.evaluation.disentanglement.points import check_rows, checked_codes

LEAST_AUROC = 0.75
GREATEST_ENTROPY_REDUCTION = 0.2


class Tad(NamedTuple):
    """The sum, and what it is made of."""

    score: float  # in [0, num_captured / 2]
    num_captured: int
    captured: NDArray[np.bool_]  # [A]
    gap: NDArray[np.float64]  # [A] best less second best AUROC, captured or not
    auroc: NDArray[np.float64]  # [A, L] in [.5, 1]; .5 for attributes that never vary
    entropy_reduction: NDArray[np.float64]  # [A] greatest share of the entropy that one other attribute takes away


def tad(codes: NDArray[np.floating], labels: NDArray[np.generic]) -> Tad:
    """TAD of codes [N, L] on binary labels [N, A].

    An attribute is captured where some code has an AUROC of .75 or more, in either direction, and no other attribute
    takes away more than 20 % of its entropy. AUROC is exact (ties count half), as InfoDiffusion has it; NashAE's own
    code steps through 101 thresholds and calls codes of a range under .2 uninformative, which differs by up to .025.
    Any strictly monotone rescaling of a code changes nothing. Attributes that never vary are not captured.

    Raises:
        DataError: of ``points``, or a label with more than two values
    """
    codes, labels = checked_codes(codes), np.asarray(labels)
    check_rows(codes, labels)
    classes = _binary(labels)
    area = aurocs(codes, classes)
    auroc = np.where(np.isnan(area), 0.5, np.maximum(area, 1 - area))
    entropies, information = entropy(classes), mutual_information(classes, classes)
    np.fill_diagonal(information, 0)
    varies = entropies > 0
    reduction = np.where(varies, information.max(axis=1) / np.where(varies, entropies, 1), 0.0)
    gap = top_two_gap(auroc.T)
    captured = (auroc.max(axis=1) >= LEAST_AUROC) & (reduction <= GREATEST_ENTROPY_REDUCTION)
    return Tad(float(gap[captured].sum()), int(captured.sum()), captured, gap, auroc, reduction)


def _binary(labels: NDArray[np.generic]) -> NDArray[np.int64]:
    if labels.ndim != 2 or labels.shape[1] == 0:
        raise DataError(f"labels of shape {labels.shape}: TAD takes [points, attributes]")
    columns = [np.unique(column, return_inverse=True) for column in labels.T]
    for index, (values, _) in enumerate(columns):
        if len(values) > 2:
            raise DataError(f"attribute {index} has {len(values)} values: TAD is of binary labels")
    return np.stack([numbers for _, numbers in columns], axis=1).astype(np.int64)
