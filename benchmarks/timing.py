"""Ratios of two things timed in turn, A B A B, so that a drifting machine touches both alike."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

MIN_REPEATS = 5


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """One printed figure: the median over pairs of rate(A) / rate(B), with the extremes.

    Args:
        target: least ratio that is wanted, None for a control
        expect: of a control, the greatest ratio at which it has moved; None for a benchmark
    """

    name: str
    what: str
    median: float
    least: float
    greatest: float
    repeats: int
    rate_a: float
    rate_b: float
    unit: str
    target: float | None = None
    expect: float | None = None

    @property
    def met(self) -> bool:
        """Whether the target is met, or the control has moved."""
        if self.expect is not None:
            return self.median <= self.expect
        return self.target is None or self.median >= self.target

    def to_json(self) -> str:
        """The line that ``make bench`` prints."""
        return json.dumps(asdict(self) | {"met": self.met, "machine": platform.processor() or platform.machine()})


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def pair(
    a: Callable[[], object], b: Callable[[], object], repeats: int, warmup: int = 1
) -> tuple[list[float], list[float]]:
    """Seconds of A and of B, timed in turn; the first ``warmup`` pairs are thrown away."""
    times = [(seconds(a), seconds(b)) for _ in range(warmup + repeats)][warmup:]
    return [t for t, _ in times], [t for _, t in times]


def ratio(
    name: str,
    what: str,
    times: tuple[list[float], list[float]],
    units: float,
    unit: str,
    target: float | None = None,
    expect: float | None = None,
) -> Ratio:
    """Summarise timed pairs of equal work: ``units`` of it were done in every call."""
    ratios = [b / a for a, b in zip(*times, strict=True)]
    return Ratio(
        name=name,
        what=what,
        median=round(statistics.median(ratios), 4),
        least=round(min(ratios), 4),
        greatest=round(max(ratios), 4),
        repeats=len(ratios),
        rate_a=round(units / statistics.median(times[0]), 2),
        rate_b=round(units / statistics.median(times[1]), 2),
        unit=unit,
        target=target,
        expect=expect,
    )
