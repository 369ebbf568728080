"""A scorer that answers from a script: for tests, dry runs and what a real model cannot be made to do on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gem_ray.errors import ScorerError
from gem_ray.messages import ScoreAnswer, ScoreRequest
from gem_ray.scoring.prompts import NUM_DIGITS


def answer_of_value(value: float) -> ScoreAnswer:
    """The answer of a perfect scorer to an attribute in [0, 1]: shared between the two neighbouring digits."""
    place = min(max(value, 0.0), 1.0) * (NUM_DIGITS - 1)
    lower = min(int(place), NUM_DIGITS - 2)
    probabilities = [0.0] * NUM_DIGITS
    probabilities[lower + 1] = place - lower
    probabilities[lower] = 1.0 - probabilities[lower + 1]
    return ScoreAnswer(probabilities=tuple(probabilities), digit_mass=1.0)


class ScriptedScorer:
    """Answers each request by a function, as slowly and as unreliably as wanted.

    Args:
        answer: gives the answer to one request; it may be missing, or hostile
        delay_s: seconds before a batch is answered
        fail: called before each batch with its number; True makes the batch fail as an absent scorer does

    Attributes:
        asked: all requests answered so far, in order
        most_in_flight: the largest number of batches under way at one time
    """

    def __init__(
        self,
        answer: Callable[[ScoreRequest], ScoreAnswer],
        *,
        delay_s: float = 0.0,
        fail: Callable[[int], bool] | None = None,
    ) -> None:
        self._answer, self._delay_s, self._fail = answer, delay_s, fail
        self._batches = 0
        self._in_flight = 0
        self.asked: list[ScoreRequest] = []
        self.most_in_flight = 0

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreAnswer]:
        """See ``engine.Scorer``."""
        batch, self._batches = self._batches, self._batches + 1
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            await asyncio.sleep(self._delay_s)
            if self._fail is not None and self._fail(batch):
                raise ScorerError(f"batch {batch} fails, as the script says")
            self.asked += requests
            return [self._answer(request) for request in requests]
        finally:
            self._in_flight -= 1
