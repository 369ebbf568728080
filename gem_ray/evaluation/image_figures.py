"""Figures made of images: reconstructions, samples, traversals, and where a picture changes as a node moves.

All images come as float arrays in [0, 1]. Shape suffixes: N images, K nodes, T positions, H height, W width, 3 colours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from gem_ray.evaluation.plot_style import HEAT, INK, SOFT, bare, canvas, figure, mosaic, place, png

Images = NDArray[np.floating]


def reconstructions_figure(originals_NHW3: Images, reconstructions_NHW3: Images, columns: int = 12) -> bytes:
    """Originals above their reconstructions, in as many bands as needed."""
    columns = min(columns, len(originals_NHW3))
    bands = len(originals_NHW3) // columns
    side = originals_NHW3.shape[1]
    gap, scale = pixel_gap(side), pixel_scale(side)
    pairs = np.stack([originals_NHW3, reconstructions_NHW3])[:, : bands * columns]
    pictures = [mosaic(pairs[:, band * columns : (band + 1) * columns], gap) for band in range(bands)]
    height, width = pictures[0].shape[0] * scale, pictures[0].shape[1] * scale
    left, between = 130, 28
    with canvas(left + width + 8, 8 + bands * (height + between) - between + 8) as drawn:
        for band, picture in enumerate(pictures):
            axes = place(drawn, picture, left, 8 + band * (height + between), scale)
            _label_rows(axes, ["original", "model"], side, gap)
        return png(drawn)


def samples_figure(images_NHW3: Images, columns: int = 12) -> bytes:
    """Images decoded from draws of the prior."""
    columns = min(columns, len(images_NHW3))
    rows = len(images_NHW3) // columns
    side = images_NHW3.shape[1]
    scale = pixel_scale(side)
    picture = mosaic(images_NHW3[: rows * columns].reshape(rows, columns, *images_NHW3.shape[1:]), pixel_gap(side))
    with canvas(picture.shape[1] * scale + 16, picture.shape[0] * scale + 16) as drawn:
        place(drawn, picture, 8, 8, scale)
        return png(drawn)


def traversal_figure(through_KTHW3: Images, alone_KTHW3: Images, attributes: Sequence[str]) -> bytes:
    """One start image: every node moved from low to high, through the graph (left) and without it (right)."""
    side = through_KTHW3.shape[2]
    gap, scale = pixel_gap(side), pixel_scale(side)
    panels = [mosaic(images, gap) for images in (through_KTHW3, alone_KTHW3)]
    height, width = panels[0].shape[0] * scale, panels[0].shape[1] * scale
    names = [short(name) for name in attributes]
    left, top, bottom, between = 40 + 15 * max(len(name) for name in names), 52, 48, 56
    titles = ("Through the graph: related attributes follow", "Without the graph: this node alone")
    with canvas(left + 2 * width + between + 8, top + height + bottom) as drawn:
        for index, (panel, title) in enumerate(zip(panels, titles)):
            axes = place(drawn, panel, left + index * (width + between), top, scale)
            axes.set_title(title)
            if index == 0:
                _label_rows(axes, names, side, gap)
            ends = [side / 2, panels[0].shape[1] / 2, panels[0].shape[1] - side / 2]
            axes.set_xticks(ends, ["low", "value of the node", "high"])
            axes.tick_params(axis="x", length=0, labelcolor=SOFT)
        return png(drawn)


def _label_rows(axes: Axes, names: Sequence[str], side: int, gap: int) -> None:
    axes.set_yticks([row * (side + gap) + side / 2 for row in range(len(names))], names)
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=8.5)


def change_figure(through_KHW: Images, alone_KHW: Images, attributes: Sequence[str]) -> bytes:
    """Where pixels change as each node goes from low to high, on one scale; its mean is written below."""
    nodes = len(through_KHW)
    columns = min(nodes, 8)
    bands = -(-nodes // columns)
    scale = Normalize(0, max(1.0, 255 * float(through_KHW.max()), 255 * float(alone_KHW.max())))
    size = 1.25
    with figure(columns * size + 1.6, bands * 2 * (size + 0.22) + 0.1) as drawn:
        grid = drawn.subplots(2 * bands, columns, squeeze=False)
        for axes in grid.flat:
            bare(axes)
        for node in range(nodes):
            band, column = divmod(node, columns)
            for row, heat in enumerate((through_KHW[node], alone_KHW[node])):
                axes = grid[2 * band + row, column]
                axes.imshow(heat * 255, cmap=HEAT, norm=scale)
                axes.set_xlabel(f"{heat.mean() * 255:.1f}", labelpad=2)
                if row == 0:
                    axes.set_title(short(attributes[node]), loc="center", pad=4)
                if column == 0:
                    axes.set_ylabel(("through\nthe graph", "this node\nalone")[row], color=INK)
        bar = drawn.colorbar(ScalarMappable(scale, HEAT), ax=grid, shrink=0.7, aspect=28, pad=0.015)
        bar.set_label("change, grey levels")
        bar.outline.set_visible(False)
        return png(drawn)


def short(name: str, limit: int = 18) -> str:
    """The name, cut where it would not fit beside a picture."""
    return name if len(name) <= limit else name[: limit - 1] + "…"


def pixel_gap(side: int) -> int:
    """Pixels of an image between two images."""
    return max(1, side // 32)


def pixel_scale(side: int) -> int:
    """Device pixels of one image pixel: whole numbers, so that nothing is blurred, and about 100 a side."""
    return max(1, round(110 / side))
