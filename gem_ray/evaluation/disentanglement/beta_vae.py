"""BetaVAE score: which factor two sets of images share, guessed by a linear classifier from how the codes differ.

Higgins et al. 2017, "beta-VAE", section 3. In [0, 1]; chance is 1 / factors. It is the most lenient of the scores: a
linear mixture of the factors already comes near 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gem_ray.evaluation.disentanglement.points import check_rows, checked_codes, factor_classes
from gem_ray.evaluation.disentanglement.sampling import SharedFactorSampler

BATCH_SIZE = 64
TRAIN_POINTS = 10_000
EVAL_POINTS = 5_000
_CHUNK = 1_000


class BetaVae(NamedTuple):
    """Accuracy of the classifier."""

    score: float  # on the evaluation points, [0, 1]
    train_accuracy: float


def beta_vae_score(
    codes: NDArray[np.floating],
    factors: NDArray[np.generic],
    *,
    seed: int,
    train_points: int = TRAIN_POINTS,
    eval_points: int = EVAL_POINTS,
    batch_size: int = BATCH_SIZE,
) -> BetaVae:
    """BetaVAE score of codes [N, L] on factors [N, F], by draws from these points (``sampling``).

    One point of the classifier is the mean |difference| [L] over 64 pairs that share a factor's value. Followed here:
    disentanglement_lib, scikit-learn's LogisticRegression with its defaults; the paper trains a linear classifier by
    gradient steps. Codes are not rescaled, so that a code of tiny range counts for little. Dead codes change nothing.

    Raises:
        DataError: of ``points`` and ``sampling``
    """
    from sklearn.linear_model import LogisticRegression  # a second to import, hence not at the top

    codes, (classes,) = checked_codes(codes), factor_classes(factors)
    check_rows(codes, classes)
    sampler, num_factors = SharedFactorSampler(classes), classes.shape[1]
    rng = np.random.default_rng(seed)
    train, evaluation = (
        _points(codes, sampler, num_factors, total, batch_size, rng) for total in (train_points, eval_points)
    )
    model = LogisticRegression(random_state=seed).fit(*train)
    return BetaVae(score=float(model.score(*evaluation)), train_accuracy=float(model.score(*train)))


def _points(
    codes: NDArray[np.float64],
    sampler: SharedFactorSampler,
    num_factors: int,
    total: int,
    batch_size: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mean differences [total, L], and the factor that was shared [total]."""
    shared = rng.integers(num_factors, size=total)
    differences = []
    for factor in np.split(shared, range(_CHUNK, total, _CHUNK)):
        first = rng.integers(sampler.num_points, size=(len(factor), batch_size))
        second = sampler.draw(np.repeat(factor, batch_size), first.ravel(), 1, rng).reshape(first.shape)
        differences.append(np.abs(codes[first] - codes[second]).mean(axis=1))
    return np.concatenate(differences), shared
