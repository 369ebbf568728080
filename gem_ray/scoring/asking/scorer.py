"""What answers questions: the protocol that everything which asks is written against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gem_ray.messages.questions import Request, ScoreAnswer


class Scorer(Protocol):
    """Answers questions about images, and about pairs of attributes."""

    async def score(self, requests: Sequence[Request]) -> list[ScoreAnswer]:
        """One answer for each request, in order; one that cannot be had is missing, with a reason.

        Raises:
            ScorerError: the scorer as a whole cannot answer now; ask again later
        """
        ...
