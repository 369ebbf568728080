"""Whether a busy engine gets on with its work: told by what it finishes, not by one more question in its queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gem_ray.errors import ScorerError


class Progress:
    """Takes note of an engine's requests as they begin and finish.

    Args:
        clock: seconds, monotonic
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._under_way = 0
        self._silent_since: float | None = None  # None where all that was asked has been answered

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""
        return self._under_way > 0

    def check(self, most_s: float) -> None:
        """Whether something finished lately.

        Args:
            most_s: seconds of silence after which the engine does not answer

        Raises:
            ScorerError: it has been silent for longer
        """
        silence_s = 0.0 if self._silent_since is None else self._clock() - self._silent_since
        if silence_s > most_s:
            raise ScorerError(f"the vLLM engine has finished none of its questions for {silence_s:.0f} s")

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around one request; a silence goes on over one that is given up, or a hung engine would look well again."""
        if self._silent_since is None:
            self._silent_since = self._clock()
        self._under_way += 1
        try:
            yield
            self._silent_since = self._clock() if self._under_way > 1 else None
        finally:
            self._under_way -= 1
