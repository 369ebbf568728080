"""The counted cost of a pass over all pairs: n prompts an image, or n(n - 1)."""

from __future__ import annotations

import asyncio

from benchmarks.pair_prompts import ATTRIBUTES, IMAGE_TOKENS, PROMPT_S, TOKEN_S, TokenClock, pair_prompts
from gem_ray.messages.questions import ScoreRequest


def test_the_clock_counts_prompts_and_their_tokens_with_the_image() -> None:
    clock = TokenClock()
    request = ScoreRequest(image=b"\0" * 12, height=2, width=2, attribute="bald")
    asyncio.run(clock.score([request, request]))
    assert clock.prompts == 2
    assert clock.tokens > 2 * IMAGE_TOKENS
    assert clock.now() == 2 * PROMPT_S + clock.tokens * TOKEN_S


def test_a_prompt_an_attribute_costs_about_one_part_in_n_of_a_prompt_a_pair() -> None:
    figure, control = pair_prompts(5)
    assert figure.least == figure.median == figure.greatest
    assert 0.8 * (len(ATTRIBUTES) - 1) < figure.median < 1.6 * (len(ATTRIBUTES) - 1)
    assert figure.met
    assert control.met
