"""FactorVAE score: which factor was held fixed, guessed from the code that varied least.

Kim and Mnih 2018, "Disentangling by Factorising", section 4. In [0, 1]; chance is 1 / factors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gem_ray.evaluation.disentanglement.points import check_rows, checked_codes, factor_classes
from gem_ray.evaluation.disentanglement.sampling import SharedFactorSampler

BATCH_SIZE = 64
TRAIN_VOTES = 10_000
EVAL_VOTES = 5_000
PRUNE_STD = 0.05
_CHUNK = 1_000


class FactorVae(NamedTuple):
    """Accuracy of the majority vote."""

    score: float  # on the evaluation votes, [0, 1]
    train_accuracy: float
    num_active: int  # codes that may be voted for


def factor_vae_score(
    codes: NDArray[np.floating],
    factors: NDArray[np.generic],
    *,
    seed: int,
    train_votes: int = TRAIN_VOTES,
    eval_votes: int = EVAL_VOTES,
    batch_size: int = BATCH_SIZE,
) -> FactorVae:
    """FactorVAE score of codes [N, L] on factors [N, F], by votes over draws from these points (``sampling``).

    Codes with a deviation under .05 are left out, as disentanglement_lib's published settings have it. disent 0.8
    leaves out none: a code that is exactly constant then wins every vote by 0 / 0, and a perfect code falls to chance.
    The deviations are those of the points given, where the originals estimate them from 10,000 draws. No active code
    at all gives 0.

    Raises:
        DataError: of ``points`` and ``sampling``
    """
    codes, (classes,) = checked_codes(codes), factor_classes(factors)
    check_rows(codes, classes)
    sampler, num_factors = SharedFactorSampler(classes), classes.shape[1]
    variance = codes.var(axis=0, ddof=1)
    rng = np.random.default_rng(seed)
    votes = []
    for total in (train_votes, eval_votes):
        counts = np.zeros((num_factors, codes.shape[1]), dtype=np.int64)
        for start in range(0, total, _CHUNK):
            fixed = rng.integers(num_factors, size=min(_CHUNK, total - start))
            anchors = rng.integers(sampler.num_points, size=len(fixed))
            counts += count_votes(codes[sampler.draw(fixed, anchors, batch_size, rng)], fixed, variance, num_factors)
        votes.append(counts)
    return majority_accuracy(votes[0], votes[1], int(active_codes(variance).sum()))


def active_codes(variance: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mask [L] of the codes that may be voted for, by their variance [L] over the data."""
    return np.sqrt(variance) >= PRUNE_STD


def count_votes(
    drawn_VBL: NDArray[np.float64], fixed_V: NDArray[np.int64], variance: NDArray[np.float64], num_factors: int
) -> NDArray[np.int64]:
    """Votes [F, L]: how often code l varied least, relative to ``variance``, while factor f was fixed.

    All zero where no code is active. disentanglement_lib numbers the active codes anew, which changes no score.
    """
    votes = np.zeros((num_factors, len(variance)), dtype=np.int64)
    active = np.nonzero(active_codes(variance))[0]
    if len(active):
        least = (drawn_VBL[:, :, active].var(axis=1, ddof=1) / variance[active]).argmin(axis=1)
        np.add.at(votes, (fixed_V, active[least]), 1)
    return votes


def majority_accuracy(train: NDArray[np.int64], evaluation: NDArray[np.int64], num_active: int) -> FactorVae:
    """Accuracy, on both sets of votes [F, L], of answering with the factor that each code had most train votes for."""
    if num_active == 0:
        return FactorVae(0.0, 0.0, 0)
    guess, every = train.argmax(axis=0), np.arange(train.shape[1])
    score, train_accuracy = (float(votes[guess, every].sum() / votes.sum()) for votes in (evaluation, train))
    return FactorVae(score, train_accuracy, num_active)
