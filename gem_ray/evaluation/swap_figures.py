"""The picture of node swaps: pairs of images down, nodes across.

Shape suffixes: P pairs, K nodes, H height, W width, 3 colours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gem_ray.evaluation.image_figures import Images, pixel_gap, pixel_scale, short
from gem_ray.evaluation.plot_style import DPI, INK, NEGATIVE, POSITIVE, SOFT, canvas, mosaic, place, png

ALIKE = 0.1  # of a node's span: a swap of less is written in grey
LEFT, TOP, UNDER, BETWEEN = 14, 34, 26, 22


def swaps_figure(
    originals_P2HW3: Images,
    reconstructions_P2HW3: Images,
    swapped_P2KHW3: Images,
    distance_PK: NDArray[np.floating],
    attributes: Sequence[str],
) -> bytes:
    """Two rows for each pair: an image, its reconstruction, and this with each node of the other image.

    Below every swap stands how far the node went, as a share of the range it takes over images.
    """
    pairs, _, nodes, side = swapped_P2KHW3.shape[:4]
    gap, scale = pixel_gap(side), pixel_scale(side)
    tile = (side + gap) * scale
    apart = LEFT + 2 * tile + BETWEEN
    band = 2 * (side * scale + UNDER) + BETWEEN
    width, height = apart + nodes * tile + 8, TOP + pairs * band
    with canvas(width, height) as drawn:
        _heading(drawn, ["original", "model", *[short(name, max(8, tile // 12)) for name in attributes]], tile, apart)
        for pair in range(pairs):
            for row in range(2):
                top = TOP + pair * band + row * (side * scale + UNDER)
                own = np.stack([originals_P2HW3[pair, row], reconstructions_P2HW3[pair, row]])
                place(drawn, mosaic(own[None], gap), LEFT, top, scale)
                place(drawn, mosaic(swapped_P2KHW3[pair, row][None], gap), apart, top, scale)
                for node in range(nodes):
                    gained = float(-distance_PK[pair, node] if row == 0 else distance_PK[pair, node])
                    colour = SOFT if abs(gained) < ALIKE else POSITIVE if gained > 0 else NEGATIVE
                    x, y = apart + node * tile + side * scale / 2, top + side * scale + UNDER / 2 - 2
                    text = f"{gained:+.0%}".replace("-", "−").replace("%", " %")
                    drawn.text(x / width, 1 - y / height, text, ha="center", va="center", color=colour, fontsize=7)
        return png(drawn)


def _heading(drawn: Figure, words: Sequence[str], tile: int, apart: int) -> None:
    width, height = drawn.get_size_inches() * DPI
    for column, word in enumerate(words):
        x = LEFT + (column + 0.5) * tile if column < 2 else apart + (column - 1.5) * tile
        weight = "normal" if column < 2 else "bold"
        drawn.text(x / width, 1 - TOP / 2 / height, word, ha="center", va="center", weight=weight, color=INK)
