"""Shapes land where their coordinates say, with y upwards."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.data.canvas import Canvas

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def dark(canvas: Canvas) -> np.ndarray:
    return (255 - canvas.pixels()[..., 0].astype(float)) / 255


def test_a_disc_has_its_centre_and_its_area() -> None:
    canvas = Canvas(100, (0.0, 10.0), (0.0, 10.0), WHITE)
    canvas.disc((3.0, 7.0), 2.0, BLACK)
    ink = dark(canvas)
    rows, columns = np.indices(ink.shape)
    assert (ink * columns).sum() / ink.sum() == pytest.approx(30.0, abs=0.6)
    assert (ink * rows).sum() / ink.sum() == pytest.approx(30.0, abs=0.6)  # y = 7 of 10, from the top
    assert ink.sum() == pytest.approx(np.pi * 20**2, rel=0.03)


def test_a_box_fills_its_rectangle_and_a_line_has_its_width() -> None:
    canvas = Canvas(50, (0.0, 10.0), (-5.0, 5.0), WHITE)
    canvas.box((1.0, -4.0), (3.0, 0.0), BLACK)
    assert dark(canvas).sum() == pytest.approx(10 * 20, rel=0.05)
    line = Canvas(50, (0.0, 10.0), (-5.0, 5.0), WHITE)
    line.line((5.0, -4.0), (5.0, 4.0), 1.0, BLACK)
    assert dark(line).sum() == pytest.approx(5 * 40, rel=0.05)
