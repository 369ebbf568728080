"""What a caller may do how often: a bucket of requests for each address, filled at a steady rate."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

MAX_CALLERS = 10_000
"""Addresses that are remembered; the one that was silent longest is forgotten first, and starts anew."""


class RateLimit:
    """Counts the requests of each caller.

    Args:
        per_minute: requests a minute, on average and in a burst
        clock: seconds, monotonic
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size, self._per_s, self._clock = float(per_minute), per_minute / 60.0, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> int | None:
        """Take one request out of the caller's bucket.

        Returns:
            int | None: whole seconds until the next one may be made; None where this one may
        """
        now = self._clock()
        left, at = self._buckets.pop(caller, (self._size, now))
        left = min(self._size, left + (now - at) * self._per_s)
        allowed = left >= 1.0
        self._buckets[caller] = (left - 1.0 if allowed else left, now)
        while len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        return None if allowed else math.ceil((1.0 - left) / self._per_s)
