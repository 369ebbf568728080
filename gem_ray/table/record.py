"""One row of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """One row of ``cells.csv``.

    Args:
        numbers: by dotted path; see ``metrics``
        seconds: of training, without pauses between two sittings
        options: hash of the options that the outcome depends on, but for the seed
        network: whose features the distances between images are of; empty where there are none
    """

    method: str
    experiment: str
    seed: int
    numbers: dict[str, float]
    seconds: float
    images_per_s: float
    hardware: str
    options: str
    run: str
    network: str = ""


def values_by_seed(records: Sequence[Record], method: str, experiment: str, key: str) -> dict[int, float | None]:
    """One number of a method on a data set, by seed; None where a cell has none."""
    return {
        record.seed: record.numbers.get(key)
        for record in records
        if record.method == method and record.experiment == experiment
    }
