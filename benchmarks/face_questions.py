"""Questions about drawn faces, in batches, and asking them."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import numpy as np

SIDE, SEED = 64, 4_242

Questions = list[list[Any]]
"""Batches of ``ScoreRequest``."""


class Faces:
    """Fresh drawn faces: no engine has seen one before, so that no cache of an earlier call answers."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def batches(self, count: int, images: int, unique: bool = False) -> Questions:
        """``count`` batches of six questions about each of ``images`` faces.

        Args:
            unique: every question is about an image of its own, which differs from the next in one pixel
        """
        from gem_ray.data.faces import ATTRIBUTES, face
        from gem_ray.messages.questions import ScoreRequest

        def pixels(image: np.ndarray, position: int) -> bytes:
            changed = image.copy()
            changed[0, 0] = (position * 40 + 7, image[0, 0, 1], image[0, 0, 2])
            return (changed if unique else image).tobytes()

        def batch() -> list[ScoreRequest]:
            drawn = [face(SEED, next(self._numbers), SIDE)[0] for _ in range(images)]
            return [
                ScoreRequest(image=image, height=SIDE, width=SIDE, attribute=name)
                for face_ in drawn
                for shared in (face_.tobytes(),)
                for position, name in enumerate(ATTRIBUTES)
                for image in (pixels(face_, position) if unique else shared,)
            ]

        return [batch() for _ in range(count)]


async def ask_all(scorer: Any, batches: Questions, concurrency: int, planted_s: float = 0.0) -> None:
    """Ask all batches, so many at a time; a missing answer is an error, so that nothing fails fast and counts."""
    places = asyncio.Semaphore(concurrency)

    async def ask(batch: list[Any]) -> None:
        async with places:
            answers = await scorer.score(batch)
            time.sleep(planted_s)  # holds up the caller's loop, as a slow serialisation would
            assert all(answer.probabilities is not None for answer in answers), answers

    await asyncio.gather(*map(ask, batches))
