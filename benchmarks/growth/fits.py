"""What a curve of costs says: the exponent of its growth, and whether memory stayed flat. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Cost against size.

    Args:
        x, y: names with units
        sizes, costs: of each point
        most: exponent that would be a surprise to exceed; None where nothing is claimed
        fit_from: sizes below pay a fixed cost above all, and are shown and not fitted
    """

    name: str
    x: str
    y: str
    sizes: tuple[float, ...]
    costs: tuple[float, ...]
    most: float | None = None
    fit_from: float = 0.0

    @property
    def exponent(self) -> float:
        """Of the power law through the points, by least squares of logarithms."""
        return exponent(self.sizes, self.costs, self.fit_from)

    @property
    def surprising(self) -> bool:
        """Whether cost grows faster than claimed."""
        return self.most is not None and self.exponent > self.most

    def line(self) -> str:
        """For a person."""
        points = ", ".join(f"{size:g}: {cost:.4g}" for size, cost in zip(self.sizes, self.costs, strict=True))
        claim = "" if self.most is None else f", at most {self.most:g} is expected{': SURPRISING' * self.surprising}"
        return f"{self.name}: exponent {self.exponent:.2f}{claim} ({self.y} by {self.x}: {points})"


def exponent(sizes: Sequence[float], costs: Sequence[float], fit_from: float = 0.0) -> float:
    """b of cost = a size^b; nan for fewer than two sizes."""
    points = [(size, cost) for size, cost in zip(sizes, costs, strict=True) if size >= fit_from and cost > 0]
    if len(points) < 2:
        return float("nan")
    x, y = np.log(np.array(points)).T
    return float(np.polyfit(x, y, 1)[0])
