"""From the attributes of data to what the metrics of the field take: classes that vary, none of them continuous."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import DataError
from gem_ray.evaluation.disentanglement.information import binned
from gem_ray.evaluation.disentanglement.points import varying_factors
from gem_ray.evaluation.evaluation_facts import FactorFacts

LEAST_PRESENCE = 0.005
"""A graded attribute counts as present or absent where both are shares of at least this."""


@dataclass(frozen=True, kw_only=True)
class Factors:
    """The factors of some points.

    Args:
        facts: of every factor of the data
        names: of the F that vary
        values: [N, F] as the data have them
        classes: [N, F] class numbers, continuous ones binned
        label_names: of the A that are present or absent
        labels: [N, A] in {0, 1}: factors of two values (1 is the greater), and presence of graded attributes
    """

    facts: tuple[FactorFacts, ...]
    names: tuple[str, ...]
    values: NDArray[np.float64]
    classes: NDArray[np.int64]
    label_names: tuple[str, ...]
    labels: NDArray[np.int64]


def factors_of(names: Sequence[str], attributes: NDArray[np.floating], *, most_values: int, bins: int) -> Factors:
    """What of the attributes [N, J] can be scored, and as what.

    A column of more than ``most_values`` values, or of values most of which occur once, is continuous: it becomes
    ``bins`` classes of equal width. Where it is 0 for some points and positive for the others it is graded, and its
    presence becomes a label.

    Raises:
        DataError: fewer than two attributes vary, or a value is not known (NaN)
    """
    values: NDArray[np.float64] = np.asarray(attributes, dtype=np.float64)
    if not np.isfinite(values).all():
        unknown = [name for name, column in zip(names, values.T) if not np.isfinite(column).all()]
        raise DataError(f"attributes {unknown} hold values that are not finite: prepare the data without such images")
    varying = varying_factors(values)
    if len(varying) < 2:
        raise DataError(
            f"{len(varying)} of the attributes {list(names)} vary over these {len(values)} images: disentanglement is "
            "of at least two factors"
        )
    num_values = [len(np.unique(column)) for column in values.T]
    continuous = [is_continuous(column, most_values, bins) for column in values.T]
    presence = [_presence(column) if graded else None for column, graded in zip(values.T, continuous)]
    classes = [_classes(values[:, j], bins if continuous[j] else 0) for j in varying]
    labelled = [j for j in varying if num_values[j] == 2 or presence[j] is not None]
    labels = [values[:, j] > values[:, j].min() for j in labelled]
    num_classes = {j: len(np.unique(column)) for j, column in zip(varying, classes)}
    return Factors(
        facts=tuple(
            FactorFacts(
                name=name,
                num_values=num_values[j],
                num_classes=num_classes.get(j, 1),
                presence=presence[j],
                scored=j in num_classes,
            )
            for j, name in enumerate(names)
        ),
        names=tuple(names[j] for j in varying),
        values=values[:, varying],
        classes=np.stack(classes, axis=1),
        label_names=tuple(names[j] for j in labelled),
        labels=np.stack(labels, axis=1).astype(np.int64) if labels else np.zeros((len(values), 0), np.int64),
    )


def is_continuous(column: NDArray[np.float64], most_values: int, bins: int) -> bool:
    """Whether a factor must be binned before it can be scored; a few points of a continuous one have few values."""
    counts = np.unique(column, return_counts=True)[1]
    return bool(len(counts) > most_values or (len(counts) > bins and (counts == 1).mean() > 0.5))


def _classes(column: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    if bins:
        column = binned(column[:, None], bins)[:, 0].astype(np.float64)
    return np.unique(column, return_inverse=True)[1].astype(np.int64)


def _presence(column: NDArray[np.float64]) -> float | None:
    if column.min() != 0:
        return None
    share = float((column > 0).mean())
    return share if LEAST_PRESENCE <= share <= 1 - LEAST_PRESENCE else None
