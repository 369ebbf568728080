"""Discs, lines and boxes in the units of a scene, drawn four times too large and averaged down, so edges are smooth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Point = tuple[float, float]
Colour = tuple[int, int, int]
OVERSAMPLING = 4


class Canvas:
    """A square picture of a rectangle of the plane, y upwards.

    Args:
        size: side in pixels
        x_range, y_range: the rectangle
    """

    def __init__(self, size: int, x_range: Point, y_range: Point, background: Colour) -> None:
        self._size, self._side = size, size * OVERSAMPLING
        self._x, self._y = x_range, y_range
        self._image = Image.new("RGB", (self._side, self._side), background)
        self._draw = ImageDraw.Draw(self._image)

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        """A filled circle (an ellipse where the two ranges differ)."""
        left, top = self._pixel((centre[0] - radius, centre[1] + radius))
        right, bottom = self._pixel((centre[0] + radius, centre[1] - radius))
        self._draw.ellipse((left, top, right, bottom), fill=colour)

    def box(self, low: Point, high: Point, colour: Colour) -> None:
        """A filled rectangle from its lower left to its upper right corner."""
        left, top = self._pixel((low[0], high[1]))
        right, bottom = self._pixel((high[0], low[1]))
        self._draw.rectangle((left, top, right, bottom), fill=colour)

    def line(self, start: Point, end: Point, width: float, colour: Colour) -> None:
        """A straight line; ``width`` in units of x."""
        self.path([start, end], width, colour)

    def path(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """A line through points; ``width`` in units of x."""
        pixels = max(1, round(width * self._side / (self._x[1] - self._x[0])))
        self._draw.line([self._pixel(point) for point in points], fill=colour, width=pixels, joint="curve")

    def pixels(self) -> NDArray[np.uint8]:
        """The picture uint8 [size, size, 3]."""
        return np.asarray(self._image.resize((self._size, self._size), Image.Resampling.BOX))

    def _pixel(self, point: Point) -> Point:
        (left, right), (low, high) = self._x, self._y
        x = (point[0] - left) / (right - left) * self._side
        y = (high - point[1]) / (high - low) * self._side
        return float(x), float(y)
