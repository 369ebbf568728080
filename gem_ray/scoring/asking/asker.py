"""Asks in the name of a run: stored answers first, one model at a time, calibrated where that is wanted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gem_ray.config import ScoringConfig
from gem_ray.messages.questions import PairRequest, ScoreAnswer
from gem_ray.messages.rescorer import Cost
from gem_ray.scoring.asking.answers import StoredAnswers
from gem_ray.scoring.asking.calibration import GREY, calibrated_answer
from gem_ray.scoring.asking.prompts import PROMPT_VERSION
from gem_ray.scoring.asking.questions import Questioner
from gem_ray.scoring.asking.remembering_scorer import RememberingScorer
from gem_ray.scoring.asking.scorer import Scorer
from gem_ray.storage import Storage
from gem_ray.telemetry import Record, unrecorded

ROLLING_S = 120.0  # how long replicas of the former model may answer still, while Serve changes one for the other
ROLLING_WAIT_S = 2.0


class ModelChanged(Exception):
    """Another model than the one asked so far has answered.

    Args:
        model: its fingerprint
    """

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model


class Asker:
    """Puts the questions of a run.

    Args:
        run: the run's folder, which holds the stored answers
        model: fingerprint of the MLLM
        count, observe: record a metric: name, amount or value, labels

    Attributes:
        model: whose answers are taken; set it after ``ModelChanged``
        protocol: how is asked, in one word: answers of different protocols do not mix
    """

    def __init__(
        self,
        config: ScoringConfig,
        run: Storage,
        attributes: tuple[str, ...],
        scorer: Scorer,
        model: str,
        count: Record = unrecorded,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        observe: Record = unrecorded,
    ) -> None:
        self._config, self._attributes = config, attributes
        self._count, self._sleep, self._clock = count, sleep, clock
        stored = StoredAnswers(run.child("answers"), config.answers_bytes)
        self._remembering = RememberingScorer(scorer, stored, model, config.min_digit_mass)
        self._questioner = Questioner(
            self._remembering,
            batch_questions=config.batch_questions,
            max_in_flight=config.max_in_flight,
            wordings=config.wordings,
            price_per_million_tokens=config.price_per_million_tokens,
            price_per_hour=config.price_per_hour,
            sleep=sleep,
            clock=clock,
            count=count,
            observe=observe,
        )
        self._retired: dict[str, float] = {}
        self._content_free: dict[int, ScoreAnswer] = {}
        self._counted = Cost()
        self.protocol = f"{PROMPT_VERSION}/{config.wordings}{'/calibrated' if config.calibrate else ''}"

    @property
    def model(self) -> str:
        """Fingerprint of the model whose answers are taken."""
        return self._remembering.model

    @model.setter
    def model(self, model: str) -> None:
        self._retired[self._remembering.model] = self._clock()
        self._retired.pop(model, None)
        self._remembering.model = model
        self._content_free.clear()

    @property
    def cost(self) -> Cost:
        """Of all questions so far."""
        return self._questioner.cost

    @property
    def waiting(self) -> bool:
        """Whether the scorer does not answer at present."""
        return self._questioner.waiting

    @property
    def last_error(self) -> str:
        """The newest failure in words."""
        return self._questioner.last_error

    @property
    def questions_per_s(self) -> float:
        """Of the last finished block of questions."""
        return self._questioner.questions_per_s

    @property
    def digit_mass(self) -> float | None:
        """Mean probability on the digits over all answers."""
        return self._questioner.digit_mass

    async def ask_images(self, images: NDArray[np.uint8], columns: Sequence[int]) -> list[ScoreAnswer]:
        """For some attributes of every image uint8 [N, H, W, 3]; N * columns answers, image by image.

        Raises:
            ModelChanged: another model answers now
        """
        names = [self._attributes[column] for column in columns]
        answers = await self._of_one_model(lambda: self._questioner.ask(images, names))
        if not self._config.calibrate:
            return answers
        await self._learn_content_free(columns, images.shape[1:])
        wanted = list(columns) * len(images)
        return [calibrated_answer(a, self._content_free.get(column)) for a, column in zip(answers, wanted, strict=True)]

    async def ask_pairs(self, requests: Sequence[PairRequest]) -> list[ScoreAnswer]:
        """About pairs themselves.

        Raises:
            ModelChanged: another model answers now
        """
        return await self._of_one_model(lambda: self._questioner.ask_requests(requests))

    async def _of_one_model(self, ask: Callable[[], Awaitable[list[ScoreAnswer]]]) -> list[ScoreAnswer]:
        """Ask until all answers are the present model's; what it has answered is stored, so only the rest costs."""
        while True:
            answers = await ask()
            self._count_questions()
            others = {answer.model for answer in answers if answer.model} - {self.model}
            if not others:
                return answers
            now = self._clock()
            new = sorted(model for model in others if now - self._retired.get(model, -np.inf) > ROLLING_S)
            if new:
                raise ModelChanged(new[0])
            await self._sleep(ROLLING_WAIT_S)

    async def _learn_content_free(self, columns: Sequence[int], shape: tuple[int, ...]) -> None:
        """Ask about a grey image of the same shape, once for each attribute and model."""
        unknown = [column for column in columns if column not in self._content_free]
        if unknown:
            names, grey = [self._attributes[column] for column in unknown], np.full((1, *shape), GREY, np.uint8)
            answers = await self._of_one_model(lambda: self._questioner.ask(grey, names))
            known = zip(unknown, answers, strict=True)
            self._content_free |= {column: answer for column, answer in known if answer.probabilities is not None}

    def _count_questions(self) -> None:
        cost = self.cost
        self._count("gem_questions_asked", cost.asked - self._counted.asked)
        self._count("gem_questions_stored", cost.stored - self._counted.stored)
        self._count("gem_prompt_tokens", cost.prompt_tokens - self._counted.prompt_tokens)
        self._count("gem_cached_tokens", cost.cached_tokens - self._counted.cached_tokens)
        self._count("gem_scoring_money", cost.money - self._counted.money)
        self._counted = cost
