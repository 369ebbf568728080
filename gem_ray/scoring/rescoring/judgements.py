"""What the MLLM says of a directed pair itself, as evidence for its edge. Pure: answers in, one edge out.

A pair is asked for its strength and for its sign, each in both mention orders (position bias is systematic: Zheng et
al. 2023) and in several wordings. Orders and wordings are averaged as log-odds, in which a preference for what is
mentioned first, or for high digits, is a shift that the two orders bring in opposite directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import GraphError
from gem_ray.messages.graph import EdgeUpdate
from gem_ray.messages.questions import PairAspect, PairRequest, ScoreAnswer
from gem_ray.scoring.asking.prompts import NUM_DIGITS, checked

DIGIT_STEP = 1.0 / (NUM_DIGITS - 1)
FLOOR = DIGIT_STEP
"""Least standard error: one digit. The digits stand for words ("much", "it decides it") and not for values of Somers'
D, so that no agreement of answers can tell .6 from .8; beside scores of 500 images (error about .04) a judgement then
weighs 1 to 25, and where nothing was scored it is what there is."""
# Log-odds of 0 and 1 are infinite: values are drawn in by half a hundredth at either end, and let out afterwards.
_EDGE = 0.005


def pair_requests(source: str, target: str, wordings: int) -> tuple[PairRequest, ...]:
    """All questions about "source acts on target": both aspects and both orders in each wording.

    Raises:
        GraphError: source and target are one
    """
    if source == target:
        raise GraphError(f"a judgement of {source!r} on itself was asked for; a relation needs two attributes")
    return tuple(
        PairRequest(source=source, target=target, aspect=aspect, target_first=target_first, wording=wording)
        for wording in range(wordings)
        for aspect in PairAspect
        for target_first in (False, True)
    )


def judged_edge(
    source: str, target: str, requests: Sequence[PairRequest], answers: Sequence[ScoreAnswer]
) -> EdgeUpdate | None:
    """The edge that the answers speak for.

    The strength is m * s: m in [0, 1] is the strength digit over 5, s = P(more likely) - P(less likely) in [-1, 1]
    comes from which half of the sign's scale the answers lie in. Its squared standard error adds the spread of the
    digits (one model asked twice says the same, so it does not shrink by asking more), half the gap of the two orders,
    the spread over wordings, and ``FLOOR``.

    Args:
        requests, answers: as many of each, in one order; answers that are missing or no distribution are left out

    Returns:
        EdgeUpdate: or None where no wording has all four of its answers: half a question is no answer, since one order
        alone keeps its bias, and a strength without a sign has no side

    Raises:
        GraphError: an answer to a question about another pair
    """
    found = _read(source, target, requests, answers)
    if found is None:
        return None
    spread = float((found.sign**2 * found.strength_variance + found.strength**2 * (1 - found.sign**2)).mean())
    error = np.sqrt(spread + (found.order_gap / 2) ** 2 + found.wording_error**2 + FLOOR**2)
    return EdgeUpdate(
        source=source,
        target=target,
        strength=float(np.clip(found.mean_strength * found.mean_sign, -1.0, 1.0)),
        standard_error=float(error),
        num_observations=found.strength.size + found.sign.size,
    )


def order_gap(
    source: str, target: str, requests: Sequence[PairRequest], answers: Sequence[ScoreAnswer]
) -> float | None:
    """How far the signed strengths of the two mention orders lie apart, in [0, 2]; None where ``judged_edge`` is."""
    found = _read(source, target, requests, answers)
    return None if found is None else found.order_gap


@dataclass(frozen=True)
class _Found:
    """Complete answers; arrays [wordings, orders].

    Args:
        strength, sign: m in [0, 1] and s in [-1, 1]
        strength_variance: of the digits of the strength, over 25
    """

    strength: NDArray[np.float64]
    strength_variance: NDArray[np.float64]
    sign: NDArray[np.float64]

    @property
    def mean_strength(self) -> float:
        return _mean_of_odds(self.strength)

    @property
    def mean_sign(self) -> float:
        return 2 * _mean_of_odds((self.sign + 1) / 2) - 1

    @property
    def order_gap(self) -> float:
        source_first, target_first = (self.strength * self.sign).mean(axis=0)
        return float(abs(source_first - target_first))

    @property
    def wording_error(self) -> float:
        """Standard error of the mean over wordings; 0 with one, which tells nothing of others."""
        by_wording = (self.strength * self.sign).mean(axis=1)
        return float(by_wording.std(ddof=1) / np.sqrt(len(by_wording))) if len(by_wording) > 1 else 0.0


def _read(source: str, target: str, requests: Sequence[PairRequest], answers: Sequence[ScoreAnswer]) -> _Found | None:
    if len(requests) != len(answers):
        raise GraphError(f"{len(answers)} answers to {len(requests)} questions about {source!r} on {target!r}")
    table: dict[int, dict[tuple[PairAspect, bool], NDArray[np.float64]]] = {}
    for request, answer in zip(requests, answers):
        if (request.source, request.target) != (source, target):
            raise GraphError(
                f"a judgement of {request.source!r} on {request.target!r} was given for {source!r} on {target!r}"
            )
        probabilities = checked(answer).probabilities
        if probabilities is not None:
            place = (PairAspect(request.aspect), bool(request.target_first))
            table.setdefault(request.wording, {})[place] = np.array(probabilities, dtype=np.float64)
    complete = [row for _, row in sorted(table.items()) if len(row) == 2 * len(PairAspect)]
    if not complete:
        return None
    strength, sign = (
        np.stack([[row[aspect, target_first] for target_first in (False, True)] for row in complete])
        for aspect in (PairAspect.STRENGTH, PairAspect.SIGN)
    )  # [wordings, orders, digits]
    values = np.arange(NUM_DIGITS) * DIGIT_STEP
    mean = strength @ values
    return _Found(
        strength=mean,
        strength_variance=np.maximum(strength @ values**2 - mean**2, 0.0),
        sign=sign[..., NUM_DIGITS // 2 :].sum(-1) - sign[..., : NUM_DIGITS // 2].sum(-1),
    )


def _mean_of_odds(shares: NDArray[np.float64]) -> float:
    """Mean of shares in [0, 1] as log-odds, as a share again."""
    inner = _EDGE + (1 - 2 * _EDGE) * np.clip(shares, 0.0, 1.0)
    mean = np.log(inner / (1 - inner)).mean()
    return float(np.clip((1 / (1 + np.exp(-mean)) - _EDGE) / (1 - 2 * _EDGE), 0.0, 1.0))
