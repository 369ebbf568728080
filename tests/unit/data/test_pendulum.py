"""The pendulum's geometry against hand-made cases, and its relations against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import somersd

from gem_ray.data.pendulum import LIGHT_STEPS, PENDULUM_STEPS, causes, draw, raw_factors, scene, true_strength


def test_light_at_45_degrees_casts_the_shadow_of_a_hanging_pendulum_to_its_left() -> None:
    theta, phi, position, length = raw_factors(np.array(0), np.array(50))  # 50 / 200 pi = 45 degrees
    assert (theta, phi) == (0.0, pytest.approx(np.pi / 4))
    # The pivot at (10, 10.5) falls on x = 10 - 11, the tip at (10, 1) on x = 10 - 1.5.
    assert position == pytest.approx((-1.0 + 8.5) / 2)
    assert length == pytest.approx(9.5)


def test_a_shadow_is_never_shorter_than_three() -> None:
    grid = raw_factors(*np.meshgrid(PENDULUM_STEPS, LIGHT_STEPS, indexing="ij"))
    assert grid[..., 3].min() == 3.0


def test_mirrored_causes_cast_mirrored_shadows() -> None:
    left, right = raw_factors(np.array(-20), np.array(80)), raw_factors(np.array(20), np.array(120))
    assert left[2] - 10 == pytest.approx(10 - right[2])
    assert left[3] == pytest.approx(right[3])


def test_causes_are_independent_and_each_acts_on_the_position() -> None:
    strength = true_strength()
    assert strength[0, 1] == strength[1, 0] == 0.0
    assert strength[0, 2] > 0.2
    assert strength[1, 2] > 0.5


def test_true_relations_are_somers_d_over_the_grid() -> None:
    pairs = [causes(3, index) for index in range(400)]
    factors = raw_factors(*np.array(pairs).T)
    sampled = somersd(factors[:, 1], factors[:, 2]).statistic
    assert sampled == pytest.approx(true_strength()[1, 2], abs=0.07)


def test_a_scene_is_a_pure_function_of_seed_and_index_with_factors_in_range() -> None:
    image, factors = scene(5, 11, 64)
    again, _ = scene(5, 11, 64)
    assert np.array_equal(image, again)
    assert not np.array_equal(image, scene(6, 11, 64)[0])
    many = np.stack([scene(0, index, 8)[1] for index in range(300)])
    assert many.min() >= 0.0
    assert many.max() <= 1.0
    assert ((many.max(0) - many.min(0)) > 0.8).all()
    assert factors.shape == (4,)


def test_the_parts_are_drawn_where_they_are() -> None:
    raw = raw_factors(np.array(0), np.array(80))
    image = draw(raw, 96).astype(int)
    red = (image[..., 0] > 150) & (image[..., 1] < 80)
    rows, columns = np.nonzero(red)
    assert columns.mean() == pytest.approx(10.0 / 20 * 96, abs=1.0)
    assert rows.mean() == pytest.approx((21 - 2.5) / 22 * 96, abs=1.0)
