"""Mutual information gap: how far the code that knows a factor best is ahead of the next one.

Chen, Li, Grosse and Duvenaud 2018, "Isolating Sources of Disentanglement in VAEs", eq. 6. In [0, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gem_ray.evaluation.disentanglement.information import NUM_BINS, binned, entropy, mutual_information, top_two_gap
from gem_ray.evaluation.disentanglement.points import check_rows, checked_codes, factor_classes


class Mig(NamedTuple):
    """The gap, and what it is made of."""

    score: float  # mean over factors, [0, 1]
    per_factor: NDArray[np.float64]  # [F] gap / entropy
    mutual_information: NDArray[np.float64]  # [L, F] nats
    entropy: NDArray[np.float64]  # [F] nats


def mig(codes: NDArray[np.floating], factors: NDArray[np.generic], num_bins: int = NUM_BINS) -> Mig:
    """MIG of codes [N, L] on factors [N, F], by 20 bins of equal width of each code's mean.

    Chen et al. integrate over q(z|x) of the whole data set; disentanglement_lib bins the posterior means, and that is
    followed here. Two copies of a code give 0. Dead codes know nothing and change nothing. Affine rescaling of a code
    changes nothing, other monotone rescaling does.

    Raises:
        DataError: of ``points``
    """
    codes, (classes,) = checked_codes(codes), factor_classes(factors)
    check_rows(codes, classes)
    information = mutual_information(binned(codes, num_bins), classes)
    entropies = entropy(classes)
    per_factor = top_two_gap(information) / entropies
    return Mig(float(per_factor.mean()), per_factor, information, entropies)
