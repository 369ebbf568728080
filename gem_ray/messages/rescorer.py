"""How far the rescorer is, and what its questions have cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What questions have cost so far; asked = answered + failed + under_way at every moment.

    Args:
        asked: questions sent to the MLLM, each counted once however often it was tried; without those given up
        answered, failed: those of them that ended with a usable answer, and without
        under_way: those of them that have not ended
        stored: questions that the run's store of answers answered; not among ``asked``
        prompt_tokens, cached_tokens: of prompts, and how many of them the engine's prefix cache held
        seconds: during which at least one question was under way
        money: by the configured prices, in their currency
    """

    asked: int = 0
    answered: int = 0
    failed: int = 0
    under_way: int = 0
    stored: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    seconds: float = 0.0
    money: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RescorerStatus:
    """How far the rescorer is.

    Args:
        phase: "starting", "scan", "rounds" or "waiting" (the scorer does not answer)
        asked, missing: questions sent to the MLLM, and those of them without a usable answer
        images_scored: data images in the score table
        rounds: rounds finished after the initial scan
        questions_per_s: of the last finished scan or round
        digit_mass: mean probability on the digits over all answers, None before the first
        last_error: the newest failure in words, empty where there was none
        cost: of all questions since this rescorer started
        useful_changes: edges that pushes moved by more than their standard error
        budget_left: questions that may be asked this minute, None without a budget
        evicted: looks at the model that were given up, since the graph had moved on too far
    """

    phase: str
    asked: int
    missing: int
    images_scored: int
    rounds: int
    questions_per_s: float
    digit_mass: float | None
    last_error: str
    cost: Cost = Cost()
    useful_changes: int = 0
    budget_left: int | None = None
    evicted: int = 0
