"""The jet of the cup against hand-made cases, and the order of its causes."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.data.flow import draw, raw_factors, reach, scene, true_strength


def test_the_ball_raises_the_water_by_its_cube() -> None:
    small, large = (raw_factors(np.array(ball), np.array(20), np.array(9)) for ball in (6, 30))
    assert small[1] == pytest.approx(0.2**3 + 2.0)
    assert large[1] - small[1] == pytest.approx(1.0 - 0.2**3)


def test_the_jet_leaves_the_wall_at_the_hole_and_lands_at_its_reach() -> None:
    radius, height, depth, far = raw_factors(np.array(15), np.array(25), np.array(12))
    assert reach(height, depth, depth) == 8.0
    assert far == pytest.approx(8.0 + np.sqrt(2 * 0.98 * height * depth))
    assert radius == 0.5


def test_ball_acts_on_water_and_water_and_hole_on_the_reach() -> None:
    ball, water, hole, jet = range(4)
    strength = true_strength()
    assert strength[ball, water] > 0.2
    assert strength[water, jet] > 0.5
    assert strength[hole, jet] > 0.4
    assert strength[ball, hole] == strength[water, hole] == 0.0


def test_a_scene_is_a_pure_function_of_seed_and_index_with_factors_in_range() -> None:
    assert np.array_equal(scene(1, 4, 32)[0], scene(1, 4, 32)[0])
    many = np.stack([scene(0, index, 8)[1] for index in range(300)])
    assert many.min() >= 0.0
    assert many.max() <= 1.0


def test_more_water_shows_as_more_blue() -> None:
    low, high = (draw(raw_factors(np.array(5), np.array(water), np.array(9)), 96).astype(int) for water in (10, 39))
    blue = [int(((image[..., 2] > 200) & (image[..., 0] < 120)).sum()) for image in (low, high)]
    assert blue[1] > 1.2 * blue[0]
