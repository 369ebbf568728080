"""Waits for answers, but not for ever: a job that a person started ends in an error where a rescorer would wait."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from gem_ray.errors import ScorerError

T = TypeVar("T")
LOOK_EVERY_S = 0.5
MARGIN_S = 30.0  # over the time a batch may take: for the way there and back, and for a next one to be answered
ENGINE_REMEDY = "see the engine's log above; where the model is slow, raise that or lower scoring.batch_questions"


class Waiting(Protocol):
    """Somebody who asks, and says whether answers come; see ``asker.Asker``."""

    @property
    def waiting(self) -> bool:
        """Whether the scorer does not answer at present."""
        ...

    @property
    def last_error(self) -> str:
        """Why, in words."""
        ...


async def with_patience(
    work: Coroutine[Any, Any, T], asker: Waiting, deadline_s: float, remedy: str, margin_s: float = MARGIN_S
) -> T:
    """The result of ``work``, which asks through ``asker``.

    Args:
        deadline_s: seconds one batch may take, ``scoring.deadline_s``: nothing can be told from a shorter silence
        remedy: what to do where there is none for longer, for the message
        margin_s: seconds after that without any answer until the work is given up

    Raises:
        ScorerError: no answer came for that long, with the cause
    """
    clock = asyncio.get_running_loop().time
    task = asyncio.ensure_future(work)
    answered_at = clock()
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=LOOK_EVERY_S)
            answered_at = answered_at if asker.waiting else clock()
            if clock() - answered_at > deadline_s + margin_s:
                raise ScorerError(
                    f"no answer from the MLLM within scoring.deadline_s={deadline_s:g} s and {margin_s:g} s more: "
                    f"{asker.last_error}; {remedy}"
                )
        return task.result()
    finally:
        task.cancel()
