"""Ratios of two things timed in turn, A B A B, so that a drifting machine touches both alike."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
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


def main_of(
    description: str,
    groups: dict[str, Callable[[int], Iterator[Ratio]]],
    repeats: int,
    arguments: Sequence[str] | None = None,
) -> None:
    """A command line that prints a line for each ratio; exit status 1 where a target or a control is missed.

    Args:
        groups: by name, what gives the ratios for a number of repeats
        repeats: default of ``--repeats``
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repeats", type=int, default=repeats, help=f"counted pairs, at least {MIN_REPEATS}")
    parser.add_argument("--only", choices=tuple(groups), help="one group instead of all")
    chosen = parser.parse_args(arguments)
    if chosen.repeats < MIN_REPEATS:
        parser.error(f"--repeats {chosen.repeats} is too few to quote a median: at least {MIN_REPEATS}")
    missed = []
    for name, group in groups.items():
        if chosen.only in (None, name):
            for line in group(chosen.repeats):
                print(line.to_json(), flush=True)
                missed += [] if line.met else [line.name]
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")
