"""The table as CSV: ``cells.csv``, a row a cell with every number; ``differences.csv``, a row a paired comparison."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from gem_ray.table.markdown import Contents, difference
from gem_ray.table.metrics import shown
from gem_ray.table.record import Record

FIRST = ("method", "experiment", "seed", "seconds", "images_per_s", "hardware", "options", "run")
WHICH = ("experiment", "method", "reference", "metric", "higher_is_better")


def cells_csv(records: Sequence[Record]) -> str:
    """CSV text with a header line; numbers at full precision, columns in the order in which they are met."""
    keys = list(dict.fromkeys(key for record in records for key in record.numbers))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*FIRST, *keys])
    for record in records:
        values = [record.numbers.get(key, math.nan) for key in keys]
        writer.writerow([*(getattr(record, name) for name in FIRST), *map(_text, values)])
    return buffer.getvalue()


def differences_csv(contents: Contents) -> str:
    """CSV text: method minus reference in every compared metric, with 95 % interval and two-sided p, uncorrected."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*WHICH, "n", "mean", "low", "high", "p", "same_sign"])
    for experiment in contents.experiments:
        metrics = shown([record.numbers for record in contents.of(experiment)])
        for method in contents.methods:
            for metric in metrics if contents.reference not in ("", method) else ():
                found = difference(contents, experiment, method, metric)
                better = "" if metric.higher_is_better is None else metric.higher_is_better
                numbers = [_text(value) for value in (found.mean, found.low, found.high, found.p)]
                names = [experiment, method, contents.reference, metric.key, better]
                writer.writerow([*names, found.n, *numbers, found.same_sign])
    return buffer.getvalue()


def _text(value: float) -> str:
    return "" if math.isnan(value) else repr(value)
