"""Every score of one set of codes, by name, with what they were computed with.

Scores move with the settings and with the version of the classifiers (disentanglement_lib issue 33), so both go with
them. UDR is not here: it is of several models.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import ConfigError
from gem_ray.evaluation.disentanglement.beta_vae import beta_vae_score
from gem_ray.evaluation.disentanglement.dci import dci
from gem_ray.evaluation.disentanglement.factor_vae import BATCH_SIZE, PRUNE_STD, factor_vae_score
from gem_ray.evaluation.disentanglement.information import NUM_BINS
from gem_ray.evaluation.disentanglement.irs import QUANTILE, irs
from gem_ray.evaluation.disentanglement.mig import mig
from gem_ray.evaluation.disentanglement.modularity import explicitness, modularity
from gem_ray.evaluation.disentanglement.sap import sap_continuous, sap_discrete
from gem_ray.evaluation.disentanglement.tad import GREATEST_ENTROPY_REDUCTION, LEAST_AUROC, tad
from gem_ray.evaluation.disentanglement.unsupervised import dependence

Scores = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Train and test points; the field's protocol has 10,000 and 5,000.

    Args:
        codes, test_codes: [N, L] and [M, L]; vector nodes reduced beforehand (``nodes``)
        factors, test_factors: [N, F] and [M, F] classes, each with at least two values
        values: [N + M, F] numbers behind the classes, where their order means something; for SAP by correlation
        labels: [N + M, A] what TAD is of; None for the factors of two classes
    """

    codes: NDArray[np.floating]
    factors: NDArray[np.generic]
    test_codes: NDArray[np.floating]
    test_factors: NDArray[np.generic]
    values: NDArray[np.floating] | None = None
    labels: NDArray[np.generic] | None = None

    @property
    def arrays(self) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """In the order of the metrics' arguments."""
        return self.codes, self.factors, self.test_codes, self.test_factors

    @property
    def everything(self) -> tuple[NDArray, NDArray]:
        """Codes and factors of all points: what the BetaVAE and FactorVAE scores and TAD draw from."""
        return np.concatenate([self.codes, self.test_codes]), np.concatenate([self.factors, self.test_factors])


class Effort(NamedTuple):
    """How metrics are computed; of this only the seed moves a score.

    Args:
        workers: threads for DCI and SAP, which take nearly all the time
        on_trees: see ``dci``
    """

    seed: int
    workers: int = 1
    on_trees: Callable[[int], None] = lambda number: None


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """What ``score_all`` found.

    Args:
        scores: by name, without those that the factors do not allow (TAD without binary ones)
        seconds: wall time by metric
        settings: what the scores depend on: seed, points, settings of the metrics, versions of the libraries
    """

    scores: Scores
    seconds: dict[str, float]
    settings: dict[str, str | int | float]


def score_all(split: Split, effort: Effort, only: Sequence[str] | None = None) -> ScoreTable:
    """All the scores of a split, or those of the metrics named in ``only`` (keys of ``METRICS``).

    Raises:
        ConfigError: an unknown metric
        DataError: codes or factors that a metric cannot score; see ``points``
    """
    scores: Scores = {}
    seconds = {}
    with warnings.catch_warnings():
        # The classifiers are scikit-learn's with their defaults, 100 iterations among them, as in the original code.
        warnings.filterwarnings("ignore", message="(?s).*failed to converge")
        for name in checked_metrics(only or ()):
            started = time.perf_counter()
            scores |= METRICS[name](split, effort)
            seconds[name] = time.perf_counter() - started
    return ScoreTable(scores=scores, seconds=seconds, settings=_settings(split, effort.seed))


def checked_metrics(only: Sequence[str]) -> tuple[str, ...]:
    """The metrics to compute: those named, or all.

    Raises:
        ConfigError: an unknown metric
    """
    if unknown := set(only) - set(METRICS):
        raise ConfigError(f"unknown metrics {sorted(unknown)}: choose from {', '.join(METRICS)}")
    return tuple(only or METRICS)


def _mig(split: Split, effort: Effort) -> Scores:
    return {"mig": mig(split.codes, split.factors).score}


def _dci(split: Split, effort: Effort) -> Scores:
    result = dci(*split.arrays, seed=effort.seed, workers=effort.workers, on_trees=effort.on_trees)
    return {f"dci_{name}": value for name, value in result._asdict().items() if name != "importance"}


def _factor_vae(split: Split, effort: Effort) -> Scores:
    result = factor_vae_score(*split.everything, seed=effort.seed)
    return {"factor_vae": result.score, "factor_vae_active": result.num_active}


def _beta_vae(split: Split, effort: Effort) -> Scores:
    return {"beta_vae": beta_vae_score(*split.everything, seed=effort.seed).score}


def _sap(split: Split, effort: Effort) -> Scores:
    scores = {"sap": sap_discrete(*split.arrays, seed=effort.seed, workers=effort.workers).score}
    if split.values is not None:
        scores["sap_continuous"] = sap_continuous(split.codes, split.values[: len(split.codes)]).score
    return scores


def _modularity(split: Split, effort: Effort) -> Scores:
    return {"modularity": modularity(split.codes, split.factors).score}


def _explicitness(split: Split, effort: Effort) -> Scores:
    return {"explicitness": explicitness(*split.arrays, seed=effort.seed).score}


def _irs(split: Split, effort: Effort) -> Scores:
    return {"irs": irs(split.codes, split.factors).score}


def _unsupervised(split: Split, effort: Effort) -> Scores:
    return dict(dependence(split.codes)._asdict())


def _tad(split: Split, effort: Effort) -> Scores:
    codes, factors = split.everything
    labels = split.labels
    if labels is None:
        labels = factors[:, [index for index, column in enumerate(factors.T) if len(np.unique(column)) == 2]]
    if labels.shape[1] == 0:
        return {}
    result = tad(codes, labels)
    return {"tad": result.score, "tad_captured": result.num_captured, "tad_attributes": labels.shape[1]}


METRICS: dict[str, Callable[[Split, Effort], Scores]] = {
    "mig": _mig,
    "dci": _dci,
    "factor_vae": _factor_vae,
    "beta_vae": _beta_vae,
    "sap": _sap,
    "modularity": _modularity,
    "explicitness": _explicitness,
    "irs": _irs,
    "unsupervised": _unsupervised,
    "tad": _tad,
}


def _settings(split: Split, seed: int) -> dict[str, str | int | float]:
    sizes = {f"num_{field.name}": len(getattr(split, field.name)) for field in fields(split) if "codes" in field.name}
    return {
        "seed": seed,
        **sizes,
        "bins": NUM_BINS,
        "factor_vae_prune_std": PRUNE_STD,
        "batch_size": BATCH_SIZE,
        "irs_quantile": QUANTILE,
        "tad_least_auroc": LEAST_AUROC,
        "tad_greatest_entropy_reduction": GREATEST_ENTROPY_REDUCTION,
        "importance": "sklearn GradientBoostingClassifier, defaults",
        **{name: version(name) for name in ("scikit-learn", "numpy", "scipy")},
    }
