"""How far a run of benchmarks is, and how long it will take: for the person who waits."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence


def remaining_s(expected: Sequence[float], done: int, elapsed_s: float) -> float:
    """Seconds to go, by what was expected of each part and how wrong that was so far.

    Args:
        expected: seconds of each part
        done: parts that are finished
    """
    finished = sum(expected[:done])
    return sum(expected[done:]) * (elapsed_s / finished if finished else 1.0)


class Progress:
    """Says on stderr which part begins, and when all will be done.

    Args:
        expected: seconds of each part by name, in their order
    """

    def __init__(self, expected: dict[str, float]) -> None:
        self._names, self._expected = list(expected), list(expected.values())
        self._started = time.monotonic()

    def begin(self, name: str) -> None:
        """A part begins."""
        done = self._names.index(name)
        minutes, seconds = divmod(round(remaining_s(self._expected, done, time.monotonic() - self._started)), 60)
        print(f"[{done + 1}/{len(self._names)}] {name}, ETA {minutes}:{seconds:02d}", file=sys.stderr, flush=True)
