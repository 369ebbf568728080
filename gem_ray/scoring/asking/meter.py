"""Counts what questions cost. Every reading holds asked = answered + failed + under way, which is asserted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from gem_ray.messages.questions import ScoreAnswer
from gem_ray.messages.rescorer import Cost

TOKENS_OF_PRICE = 1e6
SECONDS_OF_PRICE = 3600.0


class CostMeter:
    """Takes note of questions as they are sent and end.

    Written by one thread; ``cost`` may be read by others, since each change puts one whole value in place of another.

    Args:
        price_per_million_tokens: of prompts, whether or not the engine had them cached
        price_per_hour: of the time during which a question is under way
        clock: seconds, monotonic
    """

    def __init__(self, price_per_million_tokens: float, price_per_hour: float, clock: Callable[[], float]) -> None:
        self._token_price = price_per_million_tokens / TOKENS_OF_PRICE
        self._second_price = price_per_hour / SECONDS_OF_PRICE
        self._clock = clock
        self._sent = self._given_up = 0
        self._now: tuple[Cost, float | None] = (Cost(), None)  # counts, and since when something is under way

    @property
    def cost(self) -> Cost:
        """What was spent until now."""
        cost, since = self._now
        seconds = cost.seconds + (self._clock() - since if since is not None else 0.0)
        tokens = cost.prompt_tokens * self._token_price
        return replace(cost, seconds=seconds, money=tokens + seconds * self._second_price)

    def send(self, num_questions: int) -> None:
        """Questions are on their way; one that is tried again is still the same."""
        self._sent += num_questions
        self._put(under_way=self._now[0].under_way + num_questions)

    def receive(self, answers: Sequence[ScoreAnswer]) -> None:
        """Answers of one try have come, for the tokens they took."""
        cost = self._now[0]
        self._put(
            prompt_tokens=cost.prompt_tokens + sum(answer.prompt_tokens for answer in answers if not answer.stored),
            cached_tokens=cost.cached_tokens + sum(answer.cached_tokens for answer in answers if not answer.stored),
        )

    def end(self, answers: Sequence[ScoreAnswer]) -> None:
        """As many questions have ended; those that the store of answers answered were never asked, nor have failed."""
        cost = self._now[0]
        stored = sum(answer.stored for answer in answers)
        failed = sum(answer.probabilities is None and not answer.stored for answer in answers)
        self._put(
            answered=cost.answered + len(answers) - stored - failed,
            failed=cost.failed + failed,
            stored=cost.stored + stored,
            under_way=cost.under_way - len(answers),
        )

    def give_up(self, num_questions: int) -> None:
        """Nobody waits for these any more (the asking was cancelled): neither answered nor failed."""
        self._given_up += num_questions
        self._put(under_way=self._now[0].under_way - num_questions)

    def _put(self, **changes: int) -> None:
        cost, since = self._now
        now = self._clock()
        seconds = cost.seconds + (now - since if since is not None else 0.0)
        cost = replace(cost, **changes, seconds=seconds)
        cost = replace(cost, asked=self._sent - self._given_up - cost.stored)
        assert cost.asked == cost.answered + cost.failed + cost.under_way, f"questions have got lost: {cost}"
        assert cost.under_way >= 0, f"more questions have ended than were sent: {cost}"
        self._now = (cost, now if cost.under_way else None)
