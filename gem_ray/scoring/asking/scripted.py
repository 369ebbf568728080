"""A scorer that answers from a script: for tests, dry runs and what a real model cannot be made to do on demand."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Mapping, Sequence

from gem_ray.errors import ScorerError
from gem_ray.messages.questions import PairAspect, PairRequest, Request, ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.prompts import NUM_DIGITS

OBEDIENCE_SIGN = b"GEMRAY SAY "
"""Bytes of an image that an obedient scorer takes for an order, followed by what to answer."""


def answer_of_value(value: float) -> ScoreAnswer:
    """The answer of a perfect scorer to an attribute in [0, 1]: shared between the two neighbouring digits."""
    place = min(max(value, 0.0), 1.0) * (NUM_DIGITS - 1)
    lower = min(int(place), NUM_DIGITS - 2)
    probabilities = [0.0] * NUM_DIGITS
    probabilities[lower + 1] = place - lower
    probabilities[lower] = 1.0 - probabilities[lower + 1]
    return ScoreAnswer(probabilities=tuple(probabilities), digit_mass=1.0)


def judge_of(
    relations: Mapping[tuple[str, str], float], position_bias: float = 0.0
) -> Callable[[PairRequest], ScoreAnswer]:
    """Judgements from a table of true relations.

    Args:
        relations: signed strength in [-1, 1] of (source, target); a pair that is not in it has none
        position_bias: added to the log-odds of both aspects where the source is mentioned first, and taken off where
            the target is
    """

    def judge(request: PairRequest) -> ScoreAnswer:
        strength = relations.get((request.source, request.target), 0.0)
        sign = (strength > 0) - (strength < 0)
        value = abs(strength) if request.aspect is PairAspect.STRENGTH else (1 + sign) / 2
        return answer_of_value(_shifted(value, -position_bias if request.target_first else position_bias))

    return judge


def obedient_answer(request: Request) -> ScoreAnswer:
    """What a model answers that does whatever an image or a name tells it to, and else gives 0 with certainty.

    An order is ``OBEDIENCE_SIGN`` in the pixels, or "say" in a name, followed by a number, ``nan`` or ``inf``: the
    digit is answered with certainty, and what is no digit becomes a "probability".
    """
    names = (request.attribute,) if isinstance(request, ScoreRequest) else (request.source, request.target)
    orders = [match.group(1) for name in names if (match := re.search(r"say (nan|inf|-?\d+)", name))]
    if isinstance(request, ScoreRequest) and OBEDIENCE_SIGN in request.image:
        said = request.image.split(OBEDIENCE_SIGN, 1)[1][:12].split(b"\0")[0].decode("ascii", "replace")
        orders.append(said.strip())
    if not orders:
        return answer_of_value(0.0)
    try:
        number = float(orders[0])
    except ValueError:
        return answer_of_value(0.0)
    if number in range(NUM_DIGITS):
        return answer_of_value(number / (NUM_DIGITS - 1))
    return ScoreAnswer(probabilities=(number, *[0.0] * (NUM_DIGITS - 1)), digit_mass=1.0)


def hostile_answers() -> tuple[ScoreAnswer, ...]:
    """Answers that no honest model gives and that nothing may be reckoned with."""
    rest = (0.0,) * (NUM_DIGITS - 1)
    return (
        *(ScoreAnswer(probabilities=(value, *rest), digit_mass=1.0) for value in (math.nan, math.inf, -math.inf, 1e9)),
        ScoreAnswer(probabilities=(2.0, -1.0, *rest[1:]), digit_mass=1.0),
        ScoreAnswer(probabilities=(1.0,) * NUM_DIGITS, digit_mass=1.0),
        ScoreAnswer(probabilities=(1.0,), digit_mass=1.0),
        ScoreAnswer(probabilities=(), digit_mass=1.0),
        ScoreAnswer(probabilities=(1.0, *rest), digit_mass=math.nan),
        ScoreAnswer(probabilities=(1.0, *rest), digit_mass=1e9),
        ScoreAnswer(probabilities=(1.0, *rest), digit_mass=-1.0),
    )


class ScriptedScorer:
    """Answers each request by a function, as slowly and as unreliably as wanted.

    Args:
        answer: gives the answer to one request; it may be missing, or hostile
        judge: gives the answer to one request about a pair, where that is another function
        delay_s: seconds before a batch is answered
        fail: called before each batch with its number; True makes the batch fail as an absent scorer does

    Attributes:
        asked: all requests answered so far, in order
        most_in_flight: the largest number of batches under way at one time
    """

    def __init__(
        self,
        answer: Callable[..., ScoreAnswer],
        *,
        judge: Callable[[PairRequest], ScoreAnswer] | None = None,
        delay_s: float = 0.0,
        fail: Callable[[int], bool] | None = None,
    ) -> None:
        self._answer, self._judge, self._delay_s, self._fail = answer, judge, delay_s, fail
        self._batches = 0
        self._in_flight = 0
        self.asked: list[Request] = []
        self.most_in_flight = 0

    async def score(self, requests: Sequence[Request]) -> list[ScoreAnswer]:
        """See ``scorer.Scorer``."""
        batch, self._batches = self._batches, self._batches + 1
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            await asyncio.sleep(self._delay_s)
            if self._fail is not None and self._fail(batch):
                raise ScorerError(f"batch {batch} fails, as the script says")
            self.asked += requests
            return [self._answer_one(request) for request in requests]
        finally:
            self._in_flight -= 1

    def _answer_one(self, request: Request) -> ScoreAnswer:
        if isinstance(request, PairRequest) and self._judge is not None:
            return self._judge(request)
        return self._answer(request)


def _shifted(value: float, log_odds: float) -> float:
    """A value in [0, 1] with its log-odds moved; 0 and 1 stay."""
    if not 0.0 < value < 1.0:
        return value
    return 1.0 / (1.0 + math.exp(-(math.log(value / (1.0 - value)) + log_odds)))
