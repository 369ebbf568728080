"""The picture of an edit: what it started from, what follows through the graph, and what the edit does by itself.

All images come as float arrays in [0, 1]. Shape suffixes: N images, H height, W width, 3 colours.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gem_ray.evaluation.image_figures import short
from gem_ray.evaluation.plot_style import DPI, HEAT, INK, NEGATIVE, POSITIVE, SOFT, canvas, place, png

Images = NDArray[np.floating]
CELL_PX = 256
GAP_PX, TOP_PX, BOTTOM_PX, EDGE_PX = 20, 104, 24, 24
BARS_PX, NAMES_PX = 420, 24
FAINT_CHANGE = 0.1  # of a pixel: smaller differences are not drawn as if they were large


def edit_figure(
    originals_NHW3: Images,
    reconstructions_NHW3: Images,
    through_NHW3: Images,
    alone_NHW3: Images,
    changes: Mapping[str, float],
    effect: Mapping[str, float],
) -> bytes:
    """One row an image: original, reconstruction, the edit with and without propagation, and what the graph added.

    Args:
        changes: what was asked for, by attribute, in standard deviations
        effect: how far every attribute moved through the graph, in standard deviations of what the decoder sees
    """
    scale = max(1, round(CELL_PX / originals_NHW3.shape[1]))
    side = originals_NHW3.shape[1] * scale
    added = np.abs(through_NHW3 - alone_NHW3).mean(axis=-1)
    most = max(FAINT_CHANGE, float(added.max()))
    heat = HEAT(added / most)[..., :3]
    columns = [originals_NHW3, reconstructions_NHW3, through_NHW3, alone_NHW3, heat]
    gaps = [0, GAP_PX // 2, GAP_PX * 2, GAP_PX // 2, GAP_PX * 2]  # what belongs together stands together
    lefts = EDGE_PX + np.cumsum(gaps) + side * np.arange(len(columns))
    names_px = NAMES_PX + 15 * max(len(short(name)) for name in effect)
    bars_left = int(lefts[-1]) + side + 2 * GAP_PX + names_px
    rows = len(originals_NHW3)
    height = TOP_PX + rows * side + (rows - 1) * (GAP_PX // 2) + BOTTOM_PX
    asked = ", ".join(f"{short(name)} {amount:+g}".replace("-", "−") for name, amount in changes.items())
    self_ = "this alone" if len(changes) == 1 else "these alone"
    headings = ("original", "reconstruction", "relations follow", self_, f"0 to {255 * most:.0f} grey levels")
    with canvas(bars_left + BARS_PX + EDGE_PX, height) as drawn:
        for column, (images, left, heading) in enumerate(zip(columns, lefts.tolist(), headings)):
            for row, image in enumerate(images):
                place(drawn, image, left, TOP_PX + row * (side + GAP_PX // 2), scale)
            _write(drawn, heading, left, TOP_PX - 16, SOFT if column < 2 else INK)
        _write(drawn, "The image", int(lefts[0]), TOP_PX - 62, INK, bold=True)
        _write(drawn, asked, int(lefts[2]), TOP_PX - 62, INK, bold=True)
        _write(drawn, "What followed", int(lefts[4]), TOP_PX - 62, INK, bold=True)
        _write(drawn, "What the decoder sees", bars_left - names_px, TOP_PX - 62, INK, bold=True)
        _write(drawn, "moved by standard deviations", bars_left - names_px, TOP_PX - 16, SOFT)
        _effect_bars(_axes(drawn, bars_left, TOP_PX, BARS_PX, min(rows * side, 52 * len(effect))), effect, set(changes))
        return png(drawn)


def _effect_bars(axes: Axes, effect: Mapping[str, float], edited: set[str]) -> None:
    """What was edited in ink, what followed in blue (more) and orange (less)."""
    values = np.array(list(effect.values()))
    colours = [INK if name in edited else POSITIVE if value > 0 else NEGATIVE for name, value in zip(effect, values)]
    axes.barh(np.arange(len(values)), values, height=0.62, color=colours)
    reach = max(0.1, float(np.abs(values).max()))
    for row, value in enumerate(values):
        side = 1 if value >= 0 else -1
        axes.text(
            value + side * 0.04 * reach,
            row,
            f"{value:+.2f}".replace("-", "−"),
            va="center",
            ha="left" if side > 0 else "right",
            color=INK,
            fontsize=7.5,
        )
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    axes.set_xlim(
        low - (0.46 * reach if low < 0 else 0.02 * reach), high + (0.46 * reach if high > 0 else 0.02 * reach)
    )
    axes.axvline(0, color=SOFT, linewidth=0.6)
    axes.set_yticks(np.arange(len(values)), [short(name) for name in effect])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=8.5)
    axes.set_xticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _axes(drawn: Figure, left: int, top: int, width: int, height: int) -> Axes:
    """Axes at a place in device pixels from the upper left corner."""
    total_width, total_height = (drawn.get_size_inches() * DPI).round()
    return drawn.add_axes(
        (left / total_width, 1 - (top + height) / total_height, width / total_width, height / total_height)
    )


def _write(drawn: Figure, text: str, left: int, baseline: int, colour: str, bold: bool = False) -> None:
    total_width, total_height = (drawn.get_size_inches() * DPI).round()
    drawn.text(
        left / total_width,
        1 - baseline / total_height,
        text,
        color=colour,
        fontsize=9.5 if bold else 8.5,
        fontweight="bold" if bold else "normal",
        va="baseline",
        ha="left",
    )
