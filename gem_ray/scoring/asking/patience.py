"""Waits for answers, but not for ever: a job that a person started ends in an error where a rescorer would wait."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from gem_ray.errors import ScorerError

T = TypeVar("T")
LOOK_EVERY_S = 0.5


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


async def with_patience(work: Coroutine[Any, Any, T], asker: Waiting, patience_s: float, remedy: str) -> T:
    """The result of ``work``, which asks through ``asker``.

    Args:
        patience_s: seconds without any answer after which the work is given up
        remedy: what to do then, for the message

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
            if clock() - answered_at > patience_s:
                raise ScorerError(f"no answer from the MLLM for {patience_s:g} s: {asker.last_error}; {remedy}")
        return task.result()
    finally:
        task.cancel()
