"""Every combination of a scene's causes: the range of each factor, and the true relations among them."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gem_ray.graph.relations import relations_from_values


class FactorGrid:
    """A grid of scenes that are all equally likely.

    Args:
        raw: float64 [N, k], the factors of every scene in their own units
    """

    def __init__(self, raw: NDArray[np.float64]) -> None:
        self.raw = raw
        self._low, self._high = raw.min(axis=0), raw.max(axis=0)

    def scaled(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Factors [..., k] on [0, 1], from the least to the largest value over the grid."""
        scaled: NDArray[np.float64] = (raw - self._low) / (self._high - self._low)
        return scaled

    @cached_property
    def strength(self) -> NDArray[np.float64]:
        """Float64 [k, k], read-only, entry [i, j] = Somers' D of factor j given factor i over the whole grid."""
        strength = relations_from_values(self.raw).strength
        strength.setflags(write=False)
        return strength
