"""Asks many questions: in batches, a bounded number at a time, as often as it takes, and keeps count of the cost.

An absent scorer is waited for, visibly; a single missing answer is asked again where another try may help; whatever
comes back is checked before anybody reckons with it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import ScorerBusyError, ScorerError
from gem_ray.messages.questions import Request, ScoreAnswer, ScoreRequest
from gem_ray.messages.rescorer import Cost
from gem_ray.scoring.asking.meter import CostMeter
from gem_ray.scoring.asking.prompts import NUM_DIGITS, checked
from gem_ray.scoring.asking.scorer import Scorer
from gem_ray.telemetry import Record, unrecorded

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
        wordings: paraphrases in which ``ask`` puts each question
        price_per_million_tokens, price_per_hour: see ``meter.CostMeter``
        sleep: waits a number of seconds
        clock: seconds, monotonic
        count, observe: record a metric: name, amount or value, labels

    Attributes:
        questions_per_s: of the last finished ``ask`` or ``ask_requests``, each wording a question
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        batch_questions: int,
        max_in_flight: int,
        wordings: int = 1,
        price_per_million_tokens: float = 0.0,
        price_per_hour: float = 0.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        count: Record = unrecorded,
        observe: Record = unrecorded,
    ) -> None:
        self._count, self._observe = count, observe
        self._scorer, self._batch_questions, self._wordings = scorer, batch_questions, wordings
        self._places = asyncio.Semaphore(max_in_flight)
        self._sleep, self._clock = sleep, clock
        self._meter = CostMeter(price_per_million_tokens, price_per_hour, clock)
        self._mass, self._ended = 0.0, 0
        self.questions_per_s = 0.0
        self._failing = False
        self._last_error = ""
        self._in_flight = 0
        self._progress_at = clock()

    @property
    def cost(self) -> Cost:
        """Of all questions so far, those under way included; may be read from another thread."""
        return self._meter.cost

    @property
    def asked(self) -> int:
        """Questions that the MLLM was asked and that have ended."""
        cost = self._meter.cost
        return cost.answered + cost.failed

    @property
    def missing(self) -> int:
        """Those of ``asked`` without a usable answer."""
        return self._meter.cost.failed

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
        return self._mass / self._ended if self._ended else None

    async def ask(self, images: NDArray[np.uint8], attributes: Sequence[str]) -> list[ScoreAnswer]:
        """Ask for every attribute of every image, in each wording.

        Args:
            images: uint8 [N, H, W, 3]

        Returns:
            N * n answers, image by image, attribute by attribute, each averaged over its wordings
        """
        requests = [
            ScoreRequest(
                image=pixels, height=images.shape[1], width=images.shape[2], attribute=attribute, wording=wording
            )
            for pixels in (image.tobytes() for image in images)  # one bytes object an image: it travels once a batch
            for attribute in attributes
            for wording in range(self._wordings)
        ]
        answers = await self.ask_requests(requests)
        return [averaged(answers[start : start + self._wordings]) for start in range(0, len(answers), self._wordings)]

    async def ask_requests(self, requests: Sequence[Request]) -> list[ScoreAnswer]:
        """One answer for each request, in order, none of them averaged.

        Questions about one image should follow one another: they then travel together and share its prefix.
        """
        began = self._clock()
        batches = list(_batches(requests, self._batch_questions))
        answers = [answer for batch in await asyncio.gather(*map(self._ask_batch, batches)) for answer in batch]
        self.questions_per_s = len(answers) / max(self._clock() - began, 1e-9)
        return answers

    async def _ask_batch(self, requests: list[Request]) -> list[ScoreAnswer]:
        async with self._places:
            self._meter.send(len(requests))
            answers: list[ScoreAnswer] | None = None
            try:
                answers = await self._with_tries(requests)
            finally:
                if answers is None:
                    self._meter.give_up(len(requests))
            self._meter.end(answers)
        self._mass += sum(answer.digit_mass for answer in answers)
        self._ended += len(answers)
        reasons = Counter(answer.failure or "none_given" for answer in answers if answer.probabilities is None)
        for reason, number in reasons.items():
            self._count("gem_questions_missing", number, reason=reason)
        return answers

    async def _with_tries(self, requests: list[Request]) -> list[ScoreAnswer]:
        answers = await self._until_answered(requests)
        for _ in range(MAX_TRIES - 1):
            again = [index for index, answer in enumerate(answers) if answer.failure in TRANSIENT]
            if not again:
                break
            for index, answer in zip(again, await self._until_answered([requests[index] for index in again])):
                answers[index] = answer
        return answers

    async def _until_answered(self, requests: list[Request]) -> list[ScoreAnswer]:
        wait_s = FIRST_WAIT_S
        while True:
            try:
                answers = [checked(answer) for answer in await self._score(requests)]
                self._meter.receive(answers)
                self._failing = False
                return answers
            except ScorerError as error:
                self._count("gem_question_request_failures", 1, cause=cause_of(error))
                self._failing, self._last_error = True, str(error)
                await self._sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    async def _score(self, requests: list[Request]) -> list[ScoreAnswer]:
        if self._in_flight == 0:
            self._progress_at = self._clock()
        self._in_flight += 1
        sent_at = self._clock()
        try:
            answers = await self._scorer.score(requests)
        finally:
            self._in_flight -= 1
        if len(answers) != len(requests):
            raise ScorerError(f"the scorer gave {len(answers)} answers to {len(requests)} questions")
        self._progress_at = self._clock()
        if not all(answer.stored for answer in answers):  # of the MLLM, not of the store of answers
            self._observe("gem_question_request_seconds", self._progress_at - sent_at)
        return answers


def cause_of(error: ScorerError) -> str:
    """The class of a request's failure, for counting: ``busy``, or ``no_answer`` for all else."""
    return "busy" if isinstance(error, ScorerBusyError) else "no_answer"


def averaged(answers: Sequence[ScoreAnswer]) -> ScoreAnswer:
    """One answer of the same question in several wordings: the mean of their digit probabilities.

    The mean of probabilities is the answer to a wording drawn at random. It keeps the expected contingency table, which
    is linear in them, unbiased over wordings, and a wording that leaves a digit out cannot veto it, as it would in a
    mean of log-odds. A wording without an answer is left out; with none of them the answer is missing. Answers of two
    models are not mixed: those of the one with more of them are taken.
    """
    if len(answers) == 1:
        return answers[0]
    real = [answer for answer in answers if answer.probabilities is not None]
    model = Counter(answer.model for answer in real or answers).most_common(1)[0][0]
    ours = [answer for answer in real if answer.model == model] or list(answers)
    mean = np.mean([answer.probabilities or (np.nan,) * NUM_DIGITS for answer in ours], axis=0)
    return ScoreAnswer(
        probabilities=tuple(mean.tolist()) if real else None,
        digit_mass=sum(answer.digit_mass for answer in ours) / len(ours),
        failure=None if real else answers[0].failure,
        model=model,
        prompt_tokens=sum(answer.prompt_tokens for answer in answers),
        cached_tokens=sum(answer.cached_tokens for answer in answers),
        stored=all(answer.stored for answer in answers),
    )


def _batches(requests: Sequence[Request], size: int) -> Iterator[list[Request]]:
    """Parts of at most ``size`` requests; those about one image stay together where they fit."""
    batch: list[Request] = []
    for _, group in groupby(requests, key=lambda request: getattr(request, "image", None)):
        together = list(group)
        if batch and len(batch) + len(together) > size:
            yield batch
            batch = []
        batch += together
        while len(batch) > size:
            yield batch[:size]
            batch = batch[size:]
    if batch:
        yield batch
