"""A scorer that asks only what the run's store of answers does not hold, and stores what it is told."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from gem_ray.errors import ScorerError, StorageError
from gem_ray.messages.questions import Request, ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.answer_segments import KEY_BYTES
from gem_ray.scoring.asking.answers import StoredAnswers
from gem_ray.scoring.asking.prompts import PROMPT_VERSION, checked, missing
from gem_ray.scoring.asking.scorer import Scorer

log = logging.getLogger(__name__)


def answer_key(request: Request, model: str, prompt_version: str = PROMPT_VERSION) -> bytes:
    """Hash of all that an answer depends on: model identity, prompt, wording, and image and attribute, or the pair."""
    if isinstance(request, ScoreRequest):
        image = _image_digest(request.image)
        asked = ["score", image, request.height, request.width, request.attribute]
    else:
        asked = ["pair", request.source, request.target, str(request.aspect), request.target_first]
    text = json.dumps([model, prompt_version, request.wording, *asked])
    return hashlib.sha256(text.encode()).digest()[:KEY_BYTES]


@lru_cache(maxsize=64)
def _image_digest(image: bytes) -> str:
    return hashlib.sha256(image).hexdigest()


class RememberingScorer:
    """Asks a scorer only what is not stored.

    Args:
        model: fingerprint of the MLLM; may be changed when another model answers. An answer that names its model is
            stored under that one, so that answers do not mix while replicas of two models are up
        min_digit_mass: a stored answer with less probability on the digits is missing, as a fresh one would be

    Attributes:
        storage_faults: times that answers could not be looked up or stored; scoring goes on without
    """

    def __init__(self, scorer: Scorer, answers: StoredAnswers, model: str, min_digit_mass: float = 0.0) -> None:
        self.model, self._min_digit_mass = model, min_digit_mass
        self.storage_faults = 0
        self._scorer, self._answers = scorer, answers

    async def score(self, requests: Sequence[Request]) -> list[ScoreAnswer]:
        """See ``scorer.Scorer``; answers from the store say so, and carry no tokens."""
        model = self.model
        places: dict[bytes, list[int]] = defaultdict(list)  # a question that comes twice is asked once
        for index, request in enumerate(requests):
            places[answer_key(request, model)].append(index)
        found = await self._stored(list(places))
        answers: list[ScoreAnswer] = [missing("not_asked")] * len(requests)
        for key, stored in found.items():
            if stored.digit_mass < self._min_digit_mass:
                stored = replace(stored, probabilities=None, failure="low_digit_mass")
            for index in places[key]:
                answers[index] = replace(stored, model=model)
        wanted = [indices[0] for key, indices in places.items() if key not in found]
        if wanted:
            fresh = await self._ask([requests[index] for index in wanted])
            for first, answer in zip(wanted, fresh):
                for index in places[answer_key(requests[first], model)]:
                    answers[index] = answer
        return answers

    async def _ask(self, requests: list[Request]) -> list[ScoreAnswer]:
        answers = [checked(answer) for answer in await self._scorer.score(requests)]
        if len(answers) != len(requests):
            raise ScorerError(f"the scorer gave {len(answers)} answers to {len(requests)} questions")
        keys = [answer_key(request, answer.model or self.model) for request, answer in zip(requests, answers)]
        try:
            await asyncio.to_thread(self._answers.add, keys, answers)
        except StorageError as error:
            self._fault(error)
        return answers

    async def _stored(self, keys: list[bytes]) -> dict[bytes, ScoreAnswer]:
        try:
            found = await asyncio.to_thread(self._answers.get, keys)
        except StorageError as error:
            self._fault(error)
            return {}
        return {key: answer for key, answer in zip(keys, found) if answer is not None}

    def _fault(self, error: StorageError) -> None:
        self.storage_faults += 1
        log.warning("scoring goes on without the store of answers: %s", error)
