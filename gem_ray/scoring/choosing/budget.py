"""A budget of questions per minute, as a token bucket; how many may be under way at once is the Questioner's bound."""

from __future__ import annotations

import time
from collections.abc import Callable

from gem_ray.errors import ConfigError

MINUTE_S = 60.0


class QuestionBudget:
    """Questions that may be asked now. In any t seconds at most per_minute * (1 + t / 60) come free.

    It starts full and holds one minute's worth. What was spent beyond it (questions asked again after a failure) is a
    debt that the next seconds pay off, so the long-run rate holds whatever is spent.

    Args:
        per_minute: 0 sets no bound
        clock: seconds, monotonic

    Raises:
        ConfigError: a negative rate
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        if per_minute < 0:
            raise ConfigError(f"scoring.questions_per_minute={per_minute} must not be negative; 0 sets no bound")
        self._per_minute, self._clock = per_minute, clock
        self._held = float(per_minute)
        self._at = clock()

    def available(self) -> int | None:
        """Whole questions that may be asked now, 0 while a debt is paid off; None without a bound."""
        return None if self._per_minute == 0 else max(0, int(self._holding(self._clock()) + 1e-9))

    def spend(self, num_questions: int) -> None:
        """Count questions that were asked."""
        now = self._clock()
        self._held, self._at = self._holding(now) - num_questions, now

    def _holding(self, now: float) -> float:
        """Questions held at a time. It changes nothing: another thread may ask what is left while this one spends."""
        gained = max(0.0, now - self._at) * self._per_minute / MINUTE_S
        return min(float(self._per_minute), self._held + gained)
