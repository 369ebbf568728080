"""The data sets that the project draws itself, by name: true factors and true relations come with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gem_ray.data import faces, flow, pendulum


@dataclass(frozen=True)
class DrawnData:
    """One endless data set.

    Args:
        factors: names of the true factors
        draw: (seed, index, size) -> image uint8 [size, size, 3], factors float64 [k] in [0, 1]; a pure function
        true_strength: () -> float64 [k, k], entry [i, j] = Somers' D of factor j given factor i
    """

    factors: tuple[str, ...]
    draw: Callable[[int, int, int], tuple[NDArray[np.uint8], NDArray[np.float64]]]
    true_strength: Callable[[], NDArray[np.float64]]


DRAWN = {
    "faces": DrawnData(faces.ATTRIBUTES, faces.face, faces.true_strength),
    "pendulum": DrawnData(pendulum.FACTORS, pendulum.scene, pendulum.true_strength),
    "flow": DrawnData(flow.FACTORS, flow.scene, flow.true_strength),
}
