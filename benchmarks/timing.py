"""Ratios of two things timed in turn, A B A B, so that a drifting machine touches both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MIN_REPEATS = 5
PLANTED = 0.3  # of the time of A: what a control plants


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
    def is_control(self) -> bool:
        """Whether it only shows that the benchmark would notice."""
        return self.expect is not None

    @property
    def met(self) -> bool:
        """Whether the target is met, or the control has moved."""
        if self.expect is not None:
            return self.median <= self.expect
        return self.target is None or self.median >= self.target


@dataclass(frozen=True)
class Turns:
    """Seconds of A, of B, and of A with a pause planted in each of its units, taken in turn.

    Args:
        share: the planted pauses, as a part of the time of A
    """

    a: list[float]
    b: list[float]
    planted: list[float]
    share: float

    def as_often(self, faster: int) -> Turns:
        """As if A had been done as often as B; it was done ``faster`` times as often, to be long enough to time."""
        return Turns([t / faster for t in self.a], self.b, [t / faster for t in self.planted], self.share)


def seconds(action: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Wall time of one call, or what another clock says."""
    started = clock()
    action()
    return clock() - started


def pair(
    a: Callable[[], object], b: Callable[[], object], repeats: int, warmup: int = 1
) -> tuple[list[float], list[float]]:
    """Seconds of A and of B, timed in turn; the first ``warmup`` pairs are thrown away."""
    times = [(seconds(a), seconds(b)) for _ in range(warmup + repeats)][warmup:]
    return [t for t, _ in times], [t for _, t in times]


def spend(wanted_s: float) -> None:
    """Use processor time: what a benchmark that is timed by it plants in place of a pause."""
    end = time.process_time() + wanted_s
    while time.process_time() < end:
        pass


def in_turn(
    a: Callable[[float], object],
    b: Callable[[], object],
    repeats: int,
    pauses: int,
    share: float = PLANTED,
    clock: Callable[[], float] = time.perf_counter,
    between: Callable[[], object] = lambda: None,
) -> Turns:
    """Time A, B and A with a planted pause, in this order and then backwards, after one of each that does not count.

    Args:
        a: gets the seconds to pause in each of its units
        pauses: how many units A has
        share: of the time of A that the pauses take together
        clock: what seconds are read from; processor time, where one process does all, is touched less by others on the
            machine, and then A must ``spend`` its pauses
        between: done before each call, outside of its time
    """
    b()
    pause_s = share * min(seconds(lambda: a(0.0), clock) for _ in range(2)) / pauses
    turns = Turns([], [], [], share)
    calls: list[tuple[list[float], Callable[[], object]]] = [
        (turns.a, lambda: a(0.0)),
        (turns.b, b),
        (turns.planted, lambda: a(pause_s)),
    ]
    for number in range(repeats):
        for times, call in calls if number % 2 else reversed(calls):
            between()
            times.append(seconds(call, clock))
    return turns


def figures(
    name: str, what: str, turns: Turns, units: float, unit: str, target: float | None = None
) -> Iterator[Ratio]:
    """The ratio of A to B, and its control: A with the pause over A, which must have lost half the pause at least."""
    yield ratio(name, what, (turns.a, turns.b), units, unit, target)
    yield ratio(
        f"{name}_control",
        f"the same with {turns.share:.0%} of its time planted, over without",
        (turns.planted, turns.a),
        units,
        unit,
        expect=round(1 / (1 + turns.share / 2), 4),
    )


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
