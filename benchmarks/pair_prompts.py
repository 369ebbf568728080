"""What a pass over all directed pairs costs: one question an attribute and image, over one question a pair and image.

No clock runs here: a stub in place of the MLLM counts a fixed time for each prompt and each of its tokens, so the
ratio is exact and has no spread. That is the project's form of "one source to all": n answers about an image inform
n(n - 1) pairs, and no answer is seen by another question.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.timing import Ratio, figures, in_turn
from gem_ray.messages.questions import PairAspect, PairRequest, Request, ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.prompts import chat_question, pair_question
from gem_ray.scoring.asking.questions import Questioner
from gem_ray.scoring.asking.scripted import answer_of_value

ATTRIBUTES = tuple(f"attribute {number}" for number in range(40))
IMAGES = 1
PROMPT_S, TOKEN_S, IMAGE_TOKENS = 1e-3, 1e-4, 64
WORD = re.compile(r"\w+|[^\w\s]")


class TokenClock:
    """A scorer that counts what its prompts would take.

    Attributes:
        prompts, tokens: so far
    """

    def __init__(self) -> None:
        self.prompts = self.tokens = 0
        self._planted_s = 0.0

    def now(self) -> float:
        """Seconds so far."""
        return self.prompts * PROMPT_S + self.tokens * TOKEN_S + self._planted_s

    def plant(self, wanted_s: float) -> None:
        """Let time pass."""
        self._planted_s += wanted_s

    async def score(self, requests: Sequence[Request]) -> list[ScoreAnswer]:
        """See ``scorer.Scorer``."""
        self.prompts += len(requests)
        self.tokens += sum(IMAGE_TOKENS + len(WORD.findall(self._text(request))) for request in requests)
        return [answer_of_value(0.5) for _ in requests]

    @staticmethod
    def _text(request: Request) -> str:
        if isinstance(request, ScoreRequest):
            return chat_question(request.attribute)
        return pair_question(request, request.source, request.target)


def pair_prompts(repeats: int) -> Iterator[Ratio]:
    """Pairs informed in a second of the counted time."""
    clock = TokenClock()
    questioner = Questioner(clock, batch_questions=48, max_in_flight=4)
    images = np.zeros((IMAGES, 8, 8, 3), np.uint8)
    pairs = [
        PairRequest(source=source, target=target, aspect=PairAspect.STRENGTH, target_first=False)
        for source in ATTRIBUTES
        for target in ATTRIBUTES
        if source != target
    ]

    def by_attribute(pause_s: float) -> None:
        before = clock.prompts
        asyncio.run(questioner.ask(images, ATTRIBUTES))
        assert clock.prompts - before <= IMAGES * (len(ATTRIBUTES) + 1)
        clock.plant(pause_s)

    turns = in_turn(
        by_attribute, lambda: asyncio.run(questioner.ask_requests(pairs * IMAGES)), repeats, 1, clock=clock.now
    )
    what = (
        f"counted cost of a pass over all pairs of {len(ATTRIBUTES)} attributes: a prompt an attribute over one a pair"
    )
    yield from figures("pair_prompts", what, turns, IMAGES * len(pairs), "pairs/s", 1 / 0.15)
