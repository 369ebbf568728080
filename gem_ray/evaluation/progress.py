"""How far a long computation is and how long it will still take, in a line every few seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from gem_ray.evaluation.summary import duration

Say = Callable[[str], None]


def silent(text: str) -> None:
    """Say nothing."""


class WorkMeter:
    """Counts work of a known amount, from any thread.

    Args:
        what: the work, for the line
        total: of it, in any unit
        say: takes the line
        every_s: seconds between two lines
    """

    def __init__(self, what: str, total: float, say: Say, every_s: float = 5.0) -> None:
        self._what, self._total, self._say, self._every_s = what, total, say, every_s
        self._lock = threading.Lock()
        self._started = self._shown = time.monotonic()
        self._done = 0.0

    def add(self, amount: float) -> None:
        """So much is done."""
        with self._lock:
            self._done += amount
            now = time.monotonic()
            if now - self._shown < self._every_s:
                return
            self._shown = now
            share, elapsed = min(1.0, self._done / self._total), now - self._started
            left = elapsed * (1 / share - 1) if share else 0.0
            self._say(f"{self._what}: {share:.0%} after {duration(elapsed)}, about {duration(left)} left")

    def counting(self, amount: float) -> Callable[[int], None]:
        """What to call with a number of pieces of work, each of that amount."""
        return lambda number: self.add(number * amount)
