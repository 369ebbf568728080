"""Asks many questions about many images: in batches, a bounded number at a time, as often as it takes.

An absent scorer is waited for, visibly; a single missing answer is asked again where another try may help; whatever
comes back is checked before anybody reckons with it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import ScorerError
from gem_ray.messages import ScoreAnswer, ScoreRequest
from gem_ray.scoring.engine import Scorer
from gem_ray.scoring.prompts import NUM_DIGITS, missing

TRANSIENT = frozenset({"deadline", "engine", "no_token"})
"""Reasons of a missing answer that another try may mend."""
MAX_TRIES = 3
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0
SILENCE_S = 10.0  # Serve holds requests back while a replica is being replaced: no error, and no answer either


class Questioner:
    """Puts questions to a scorer and keeps count.

    Args:
        batch_questions: questions of one request
        max_in_flight: requests under way at a time
        sleep: waits a number of seconds
        clock: seconds, monotonic

    Attributes:
        asked, missing: questions answered so far, and those of them without a usable answer
        questions_per_s: of the last finished ``ask``
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        batch_questions: int,
        max_in_flight: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scorer, self._batch_questions = scorer, batch_questions
        self._places = asyncio.Semaphore(max_in_flight)
        self._sleep, self._clock = sleep, clock
        self._mass = 0.0
        self.asked = 0
        self.missing = 0
        self.questions_per_s = 0.0
        self._failing = False
        self._last_error = ""
        self._in_flight = 0
        self._progress_at = clock()

    @property
    def waiting(self) -> bool:
        """Whether the scorer does not answer at present: it fails, or has been silent over requests for a while."""
        return self._failing or self._silence_s > SILENCE_S

    @property
    def last_error(self) -> str:
        """The newest failure, or the silence, in words; empty where there was neither."""
        silence_s = self._silence_s
        if silence_s > SILENCE_S and not self._failing:
            return f"the scorer has not answered for {silence_s:.0f} s"
        return self._last_error

    @property
    def _silence_s(self) -> float:
        return self._clock() - self._progress_at if self._in_flight else 0.0

    @property
    def digit_mass(self) -> float | None:
        """Mean probability on the digits over all answers, None before the first."""
        return self._mass / self.asked if self.asked else None

    async def ask(self, images: NDArray[np.uint8], attributes: Sequence[str]) -> list[ScoreAnswer]:
        """Ask for every attribute of every image.

        Args:
            images: uint8 [N, H, W, 3]

        Returns:
            N * n answers, image by image, attribute by attribute
        """
        began = self._clock()
        requests = [
            ScoreRequest(image=pixels, height=images.shape[1], width=images.shape[2], attribute=attribute)
            for pixels in (image.tobytes() for image in images)  # one bytes object an image: it travels once a batch
            for attribute in attributes
        ]
        # Whole images in a batch where they fit, since questions about one image share its prefix.
        size = max(self._batch_questions - self._batch_questions % len(attributes), 0) or self._batch_questions
        batches = [requests[start : start + size] for start in range(0, len(requests), size)]
        answers = [answer for batch in await asyncio.gather(*map(self._ask_batch, batches)) for answer in batch]
        self.questions_per_s = len(answers) / max(self._clock() - began, 1e-9)
        return answers

    async def _ask_batch(self, requests: list[ScoreRequest]) -> list[ScoreAnswer]:
        async with self._places:
            answers = await self._until_answered(requests)
            for _ in range(MAX_TRIES - 1):
                again = [index for index, answer in enumerate(answers) if answer.failure in TRANSIENT]
                if not again:
                    break
                for index, answer in zip(again, await self._until_answered([requests[index] for index in again])):
                    answers[index] = answer
        self.asked += len(answers)
        self.missing += sum(answer.probabilities is None for answer in answers)
        self._mass += sum(answer.digit_mass for answer in answers)
        return answers

    async def _until_answered(self, requests: list[ScoreRequest]) -> list[ScoreAnswer]:
        wait_s = FIRST_WAIT_S
        while True:
            try:
                answers = await self._score(requests)
                self._failing = False
                return [checked(answer) for answer in answers]
            except ScorerError as error:
                self._failing, self._last_error = True, str(error)
                await self._sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    async def _score(self, requests: list[ScoreRequest]) -> list[ScoreAnswer]:
        if self._in_flight == 0:
            self._progress_at = self._clock()
        self._in_flight += 1
        try:
            answers = await self._scorer.score(requests)
        finally:
            self._in_flight -= 1
        if len(answers) != len(requests):
            raise ScorerError(f"the scorer gave {len(answers)} answers to {len(requests)} questions")
        self._progress_at = self._clock()
        return answers


def checked(answer: ScoreAnswer) -> ScoreAnswer:
    """The answer, or a missing one where its numbers are no distribution over the digits."""
    mass_good = math.isfinite(answer.digit_mass) and 0.0 <= answer.digit_mass <= 1.0
    p = answer.probabilities
    if p is None:
        return answer if mass_good else missing(answer.failure or "bad_answer")
    good = mass_good and len(p) == NUM_DIGITS and all(math.isfinite(value) and value >= 0 for value in p)
    return answer if good and abs(sum(p) - 1.0) < 1e-3 else missing("bad_answer")
