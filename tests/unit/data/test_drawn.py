"""Every drawn data set keeps the same promises."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.data.drawn import DRAWN


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_a_drawn_data_set_gives_images_factors_and_true_relations(name: str) -> None:
    drawn = DRAWN[name]
    image, factors = drawn.draw(0, 3, 32)
    assert (image.shape, image.dtype) == ((32, 32, 3), np.uint8)
    assert factors.shape == (len(drawn.factors),)
    assert ((factors >= 0) & (factors <= 1)).all()
    strength = drawn.true_strength()
    assert strength.shape == (len(drawn.factors),) * 2
    assert not np.diag(strength).any()
    assert np.abs(strength).max() > 0.2
