"""Flow: a ball in a cup of water with a hole, in which causes form a chain (CausalVAE, Yang et al. 2021).

Drawn anew from its description; lengths are in units of a canvas of 20 x 20. The ball raises the water; water and hole
decide how far the jet reaches. Factors are given on [0, 1], from the least to the largest value over the whole grid of
30 x 30 x 9 scenes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gem_ray.data.canvas import Canvas
from gem_ray.data.factor_grid import FactorGrid

FACTORS = ("ball size", "water height", "hole height", "jet reach")
BALL_STEPS, WATER_STEPS, HOLE_STEPS = np.arange(5, 35), np.arange(10, 40), np.arange(6, 15)
CUP_LEFT, CUP_RIGHT, CUP_TOP, WATER_BASE = 3.0, 8.0, 12.0, 5.0
GRAVITY = 0.98
SKY, GLASS, WATER, BALL = (255, 255, 255), (60, 60, 60), (70, 150, 230), (178, 34, 34)


def causes(seed: int, index: int) -> tuple[int, int, int]:
    """Steps of ball, water and hole of scene ``index``, uniform over the grid."""
    rng = np.random.default_rng((seed, index))
    return int(rng.choice(BALL_STEPS)), int(rng.choice(WATER_STEPS)), int(rng.choice(HOLE_STEPS))


def raw_factors(
    ball: NDArray[np.integer], water: NDArray[np.integer], hole: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Radius, water height, hole height and reach [..., 4], for steps [...] of the grid."""
    radius, depth = np.asarray(ball) / 30.0, np.asarray(hole) / 3.0
    height = radius**3 + np.asarray(water) / 10.0
    return np.stack([radius, height, depth, reach(height, depth, 0.0)], axis=-1)


def reach(
    height: NDArray[np.float64], depth: NDArray[np.float64], y: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """x of the jet at height y, for water and hole of some heights."""
    return np.asarray(CUP_RIGHT + np.sqrt(2 * GRAVITY * height * (depth - y)))


GRID = FactorGrid(
    raw_factors(*(step.ravel() for step in np.meshgrid(BALL_STEPS, WATER_STEPS, HOLE_STEPS, indexing="ij")))
)


def scene(seed: int, index: int, size: int = 96) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Scene ``index`` of the endless data set ``seed``.

    Returns:
        image uint8 [size, size, 3], factors float64 [4] in [0, 1]
    """
    raw = raw_factors(*(np.array(step) for step in causes(seed, index)))
    return draw(raw, size), GRID.scaled(raw)


def draw(raw: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """The scene uint8 [size, size, 3] of raw factors [4]."""
    radius, height, depth, _ = raw
    canvas = Canvas(size, x_range=(0.0, 20.0), y_range=(0.0, 20.0), background=SKY)
    canvas.box((CUP_LEFT, 0.0), (CUP_RIGHT, WATER_BASE + height), WATER)
    canvas.disc(((CUP_LEFT + CUP_RIGHT) / 2, radius + 0.3), radius, BALL)
    for x in (CUP_LEFT, CUP_RIGHT):
        canvas.line((x, 0.0), (x, CUP_TOP), 0.4, GLASS)
    canvas.line((CUP_LEFT, 0.1), (CUP_RIGHT, 0.1), 0.4, GLASS)
    y = np.linspace(depth, 0.0, 40)
    canvas.path(list(zip(reach(height, depth, y).tolist(), y.tolist())), 0.5, WATER)
    return canvas.pixels()


def true_strength() -> NDArray[np.float64]:
    """The true relations: float64 [4, 4], entry [i, j] = Somers' D of factor j given factor i over the whole grid."""
    return GRID.strength
