"""A run's ``metrics.jsonl`` as columns: what curves, rates and durations are read from.

Lines with "event" are events; all others are measurements. A torn last line and keys of other versions are tolerated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import DataError
from gem_ray.storage import Storage
from gem_ray.typed_json import parse_json

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class History:
    """Measurements in the order of steps, and events."""

    measurements: tuple[dict[str, Any], ...]
    events: tuple[dict[str, Any], ...]

    def column(self, name: str) -> NDArray[np.float64]:
        """One value of every measurement; NaN where a line has none."""
        return np.array([_number(line.get(name)) for line in self.measurements], dtype=np.float64)

    def table(self, name: str) -> NDArray[np.float64]:
        """One list of every measurement as [lines, width]; shorter lists are filled with NaN."""
        rows = [line.get(name) or [] for line in self.measurements]
        table = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
        for row, values in enumerate(rows):
            table[row, : len(values)] = [_number(value) for value in values]
        return table

    def last(self, name: str) -> float:
        """The newest known value; NaN where there is none."""
        known = self.column(name)
        known = known[~np.isnan(known)]
        return float(known[-1]) if known.size else float("nan")

    def total(self, name: str) -> float:
        """Sum of what a counter has counted, which begins at 0 again when its process is restarted; NaN if unknown."""
        known = self.column(name)
        known = known[~np.isnan(known)]
        if not known.size:
            return float("nan")
        steps = np.diff(known, prepend=0.0)
        return float(np.where(steps < 0, known, steps).sum())

    def training_s(self, batch_size: int) -> float:
        """Seconds spent on steps: pauses between two sittings of a run do not count."""
        steps, rates = self.column("step"), self.column("images_per_s")
        images = np.diff(steps, prepend=-1.0) * batch_size
        good = np.isfinite(images) & (images > 0) & (rates > 0)
        return float((images[good] / rates[good]).sum())


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def read_metrics(run: Storage) -> list[dict[str, Any]]:
    """Every line of a run's ``metrics.jsonl``; empty where there is none, a torn last line is left out.

    Raises:
        DataError: a line other than the last is not a JSON object
    """
    try:
        lines = run.read_bytes(METRICS).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    parsed: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            value = parse_json(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise DataError(f"line {number} of {run.uri}/{METRICS} is not JSON: {error}; remove the line") from error
        if not isinstance(value, dict):
            raise DataError(f"line {number} of {run.uri}/{METRICS} is not a JSON object; remove the line")
        parsed.append(value)
    return parsed


def read_history(run: Storage) -> History:
    """The whole history of a run; empty where nothing has been written yet.

    Raises:
        DataError: see ``read_metrics``
    """
    parsed = read_metrics(run)
    # A resumed run repeats steps it had not published; the later line is the one that counts.
    newest = {line["step"]: line for line in parsed if "event" not in line and "step" in line}
    measurements = tuple(newest[step] for step in sorted(newest))
    return History(measurements, tuple(line for line in parsed if "event" in line))
