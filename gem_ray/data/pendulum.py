"""Pendulum: a bob, a sun and the shadow, in which two causes act on two effects (CausalVAE, Yang et al. 2021).

Drawn anew from its description; lengths are in units of a canvas with x in [0, 20] and y in [-1, 21]. Factors are
given on [0, 1], from the least to the largest value over the whole grid of 84 x 87 scenes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gem_ray.data.canvas import Canvas
from gem_ray.data.factor_grid import FactorGrid

FACTORS = ("pendulum angle", "light angle", "shadow position", "shadow length")
PENDULUM_STEPS = np.arange(-40, 44)  # of pi / 200
LIGHT_STEPS = np.array([step for step in range(60, 148) if step != 100])  # at 100 the light is vertical
PIVOT = np.array([10.0, 10.5])
BOB_DISTANCE, BOB_RADIUS, TIP_DISTANCE = 8.0, 1.5, 9.5
SUN_HEIGHT, SUN_RADIUS = 20.5, 3.0
GROUND, LEAST_SHADOW = -0.5, 3.0
SKY, ROD, BOB, SUN, SHADOW = (255, 255, 255), (0, 0, 0), (178, 34, 34), (255, 165, 0), (0, 0, 0)


def causes(seed: int, index: int) -> tuple[int, int]:
    """Steps of pendulum and light of scene ``index``, uniform over the grid."""
    rng = np.random.default_rng((seed, index))
    return int(rng.choice(PENDULUM_STEPS)), int(rng.choice(LIGHT_STEPS))


def raw_factors(pendulum: NDArray[np.integer], light: NDArray[np.integer]) -> NDArray[np.float64]:
    """Angles in radians, shadow position and length [..., 4], for steps [...] of the grid."""
    theta, phi = np.asarray(pendulum) * np.pi / 200, np.asarray(light) * np.pi / 200
    tip_x, tip_y = PIVOT[0] + TIP_DISTANCE * np.sin(theta), PIVOT[1] - TIP_DISTANCE * np.cos(theta)
    of_pivot = PIVOT[0] + (GROUND - PIVOT[1]) / np.tan(phi)
    of_tip = tip_x + (GROUND - tip_y) / np.tan(phi)
    length = np.maximum(LEAST_SHADOW, np.abs(of_pivot - of_tip))
    return np.stack([theta, phi, (of_pivot + of_tip) / 2, length], axis=-1)


GRID = FactorGrid(raw_factors(*(step.ravel() for step in np.meshgrid(PENDULUM_STEPS, LIGHT_STEPS, indexing="ij"))))


def scene(seed: int, index: int, size: int = 96) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Scene ``index`` of the endless data set ``seed``.

    Returns:
        image uint8 [size, size, 3], factors float64 [4] in [0, 1]
    """
    raw = raw_factors(*(np.array(step) for step in causes(seed, index)))
    return draw(raw, size), GRID.scaled(raw)


def draw(raw: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """The scene uint8 [size, size, 3] of raw factors [4]."""
    theta, phi, position, length = raw
    canvas = Canvas(size, x_range=(0.0, 20.0), y_range=(-1.0, 21.0), background=SKY)
    bob = PIVOT + BOB_DISTANCE * np.array([np.sin(theta), -np.cos(theta)])
    canvas.disc((PIVOT[0] + (SUN_HEIGHT - PIVOT[1]) / np.tan(phi), SUN_HEIGHT), SUN_RADIUS, SUN)
    canvas.line((PIVOT[0], PIVOT[1]), (bob[0], bob[1]), 0.6, ROD)
    canvas.disc((bob[0], bob[1]), BOB_RADIUS, BOB)
    canvas.line((position - length / 2, GROUND), (position + length / 2, GROUND), 0.6, SHADOW)
    return canvas.pixels()


def true_strength() -> NDArray[np.float64]:
    """The true relations: float64 [4, 4], entry [i, j] = Somers' D of factor j given factor i over the whole grid."""
    return GRID.strength
