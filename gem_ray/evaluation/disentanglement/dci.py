"""Disentanglement, completeness and informativeness, from the importance of each code to gradient-boosted trees.

Eastwood and Williams 2018, "A Framework for the Quantitative Evaluation of Disentangled Representations", section 2.
Scores are of the booster as much as of the code: lasso and random forests (the paper's) or another booster give other
numbers. Followed here: disentanglement_lib, scikit-learn's GradientBoostingClassifier with its defaults (100 rounds of
trees of depth 3, learning rate .1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import entropy

from gem_ray.errors import DataError
from gem_ray.evaluation.disentanglement.points import check_rows, checked_codes, factor_classes

ROUNDS = 100  # scikit-learn's default
_SMALLEST_IMPORTANCE = 1e-11  # as in disentanglement_lib: a code of no importance counts as uniform, at weight 0


class Dci(NamedTuple):
    """All in [0, 1]."""

    disentanglement: float
    completeness: float
    informativeness_train: float  # mean accuracy
    informativeness_test: float
    importance: NDArray[np.float64]  # [L, F], each column sums to 1, or to 0 where no tree could split


class _Fit(NamedTuple):
    importance: NDArray[np.float64]  # [L]
    train_accuracy: float
    test_accuracy: float


def dci(
    codes: NDArray[np.floating],
    factors: NDArray[np.generic],
    test_codes: NDArray[np.floating],
    test_factors: NDArray[np.generic],
    *,
    seed: int,
    workers: int = 1,
    on_trees: Callable[[int], None] = lambda number: None,
) -> Dci:
    """DCI of codes [N, L] on factors [N, F]; informativeness also on test points [M, L], [M, F].

    Time goes with the number of classes: 100 trees for each (binary factors need one set only), about 25 ms a tree at
    10,000 points and 10 codes. The seed settles the order in which codes are tried where two splits are equally good;
    over seeds the scores move by about .001.

    Args:
        workers: threads; factors are fitted side by side, with the same result for any number
        on_trees: called with the number of trees that a round has grown, from any of the threads

    Raises:
        DataError: of ``points``, or only one factor
    """
    codes, test_codes = checked_codes(codes), checked_codes(test_codes)
    classes, test_classes = factor_classes(factors, test_factors)
    check_rows(codes, classes)
    check_rows(test_codes, test_classes)
    _check_two_factors(classes.shape[1])
    # The longest fit first, or it is what all threads wait for.
    order = np.argsort(-num_trees(classes), kind="stable")
    with ThreadPoolExecutor(workers) as pool:
        fits: Sequence[_Fit] = list(
            pool.map(lambda k: _fit(codes, classes[:, k], test_codes, test_classes[:, k], seed, on_trees), order)
        )
    importance = np.stack([fits[place].importance for place in np.argsort(order)], axis=1)
    return Dci(
        disentanglement=disentanglement(importance),
        completeness=completeness(importance),
        informativeness_train=float(np.mean([fit.train_accuracy for fit in fits])),
        informativeness_test=float(np.mean([fit.test_accuracy for fit in fits])),
        importance=importance,
    )


def num_trees(classes: NDArray[np.generic]) -> NDArray[np.int64]:
    """Trees [F] that each factor's fit grows, by class numbers [N, F]: in a round one a class, one for two classes."""
    num_classes = np.array([len(np.unique(column)) for column in classes.T])
    return ROUNDS * np.where(num_classes > 2, num_classes, 1)


def disentanglement(importance: NDArray[np.float64]) -> float:
    """Whether each code matters to one factor only: 1 - entropy over factors, weighted by the codes' importance.

    Of an importance matrix [L, F], F at least 2. In [0, 1]; 0 where nothing has any importance.
    """
    _check_two_factors(importance.shape[1])
    per_code = 1 - entropy(importance.T + _SMALLEST_IMPORTANCE, base=importance.shape[1])
    return _weighted(per_code, importance.sum(axis=1))


def completeness(importance: NDArray[np.float64]) -> float:
    """Whether each factor is told by one code only: 1 - entropy over codes, weighted by the factors' importance.

    Of an importance matrix [L, F], L at least 2. In [0, 1]; 0 where nothing has any importance.
    """
    per_factor = 1 - entropy(importance + _SMALLEST_IMPORTANCE, base=importance.shape[0])
    return _weighted(per_factor, importance.sum(axis=0))


def _weighted(scores: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    return float(np.average(scores, weights=weights if weights.sum() > 0 else None))


def _fit(
    codes: NDArray[np.float64],
    classes: NDArray[np.int64],
    test_codes: NDArray[np.float64],
    test_classes: NDArray[np.int64],
    seed: int,
    on_trees: Callable[[int], None],
) -> _Fit:
    from sklearn.ensemble import GradientBoostingClassifier  # a second to import, hence not at the top

    per_round = int(num_trees(classes[:, None])[0]) // ROUNDS

    def monitor(*_: object) -> bool:
        on_trees(per_round)
        return False  # go on

    model = GradientBoostingClassifier(random_state=seed, n_estimators=ROUNDS).fit(codes, classes, monitor=monitor)
    return _Fit(model.feature_importances_, model.score(codes, classes), model.score(test_codes, test_classes))


def _check_two_factors(num_factors: int) -> None:
    if num_factors < 2:
        raise DataError(f"{num_factors} factor: DCI asks which of several factors a code is about, give at least 2")
