"""Figures of relations: signed heatmaps that keep both directions, a node-link drawing, and agreement with the truth.

All matrices are [n, n], indexed [source, target], in [-1, 1], NaN where nothing is known; diagonals are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle
from numpy.typing import NDArray

from gem_ray.evaluation.image_figures import short
from gem_ray.evaluation.plot_style import INK, NEGATIVE, POSITIVE, SIGNED, SOFT, bare, figure, png, readable_on

Matrix = NDArray[np.floating]
MOST_NUMBERS = 14  # beyond this many attributes the cells are too small for numbers
SHOWN_EDGE = 0.05  # weaker relations are left out of the node-link drawing


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One matrix of a heatmap figure; ``confidence`` [n, n] in [0, 1] sets the size of a cell, None for full cells."""

    title: str
    values: Matrix
    confidence: Matrix | None = None


def heatmaps_figure(panels: Sequence[Panel], attributes: Sequence[str]) -> bytes:
    """Matrices side by side on one signed scale; rows act, columns are acted on."""
    n = len(attributes)
    side = float(np.clip(0.47 * n, 2.6, 7.0))
    columns = min(len(panels), 2 if side > 4.5 or len(panels) == 4 else 3)
    rows = -(-len(panels) // columns)
    with figure(columns * (side + 0.95) + 0.8, rows * (side + 0.95)) as drawn:
        grid = drawn.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, panel in zip(grid.flat, panels):
            draw_panel(axes, panel, [short(name, 12) for name in attributes])
        scale = ScalarMappable(Normalize(-1, 1), SIGNED)
        bar = drawn.colorbar(scale, ax=grid, shrink=min(0.8, 2.4 / (rows * side)), aspect=20, pad=0.02)
        bar.set_label("row acts on column: signed strength")
        bar.outline.set_visible(False)
        return png(drawn)


def draw_panel(axes: Axes, panel: Panel, names: Sequence[str], reach: float = 1.0) -> None:
    """One matrix; colours run from -``reach`` to ``reach``, beyond it they stay what they are at the ends."""
    n = len(names)
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), aspect="equal")
    axes.set_title(panel.title)
    off_diagonal = [(i, j) for i in range(n) for j in range(n) if i != j]
    places = [cell for cell in off_diagonal if np.isfinite(panel.values[cell])]
    sure = np.ones((n, n)) if panel.confidence is None else panel.confidence
    halves = [0.48 * float(np.sqrt(sure[cell])) for cell in places]
    colours = [SIGNED((float(panel.values[cell]) / reach + 1) / 2) for cell in places]
    # Collections rather than a patch for each cell: of 40 attributes, a figure in one second instead of thirty.
    squares = [[_square(i, j, 0.48) for i, j in off_diagonal], [_square(*at, half) for at, half in zip(places, halves)]]
    axes.add_collection(PatchCollection(squares[0], facecolor="#f4f5f6", linewidth=0))
    axes.add_collection(PatchCollection(squares[1], facecolor=colours, linewidth=0))
    if n <= MOST_NUMBERS:
        axes.set(xlabel="target", ylabel="source")
        for (i, j), half, colour in zip(places, halves, colours):
            on = readable_on(colour) if half > 0.3 else INK
            axes.text(j, i, signed(panel.values[i, j]), ha="center", va="center", color=on, fontsize=7.5)
    axes.set_xticks(range(n), names, rotation=40 if max(map(len, names)) > 5 else 0, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n), names)
    axes.tick_params(length=0, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _square(row: int, column: int, half: float) -> Rectangle:
    return Rectangle((column - half, row - half), 2 * half, 2 * half)


def signed(value: float) -> str:
    """Two decimals, a real minus sign, no leading zero: +.39, −.07; 1 and 0 as they are."""
    if np.isnan(value):
        return "–"
    text = f"{abs(value):.2f}"
    if text == "0.00":
        return "0"
    return ("−" if value < 0 else "+") + text.removeprefix("0")


def network_figure(strength: Matrix, confidence: Matrix, attributes: Sequence[str]) -> bytes:
    """Nodes on a circle and an arrow for every relation: width is strength, colour is sign, opacity is confidence."""
    n = len(attributes)
    angles = np.pi / 2 - 2 * np.pi * np.arange(n) / n
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    radius = min(0.17, 0.62 * np.sin(np.pi / n))
    edges = [(i, j) for i in range(n) for j in range(n) if i != j and abs(strength[i, j]) >= SHOWN_EDGE]
    with figure(5.6, 5.2) as drawn:
        axes = drawn.subplots()
        bare(axes)
        axes.set(xlim=(-1.42, 1.42), ylim=(-1.34, 1.28), aspect="equal")
        for i, j in sorted(edges, key=lambda edge: abs(strength[edge])):
            _draw_edge(axes, places[i], places[j], radius, float(strength[i, j]), float(confidence[i, j]))
        for name, (x, y) in zip(attributes, places):
            axes.add_patch(Circle((x, y), radius, facecolor="white", edgecolor=INK, linewidth=1.0, zorder=3))
            text = short(name, 14)
            axes.text(x, y, text, ha="center", va="center", zorder=4, fontsize=min(9.0, 46 / max(5, len(text))))
        _network_legend(axes)
        return png(drawn)


def _draw_edge(
    axes: Axes, start: NDArray[np.float64], end: NDArray[np.float64], radius: float, strength: float, confidence: float
) -> None:
    direction = (end - start) / np.linalg.norm(end - start)
    # The two arrows of a pair bend apart; both leave and reach the circles at their own side.
    normal = np.array([-direction[1], direction[0]])
    lean = 0.45 * direction - 0.25 * normal
    lean /= np.linalg.norm(lean)
    back = -0.45 * direction - 0.25 * normal
    back /= np.linalg.norm(back)
    axes.add_patch(
        FancyArrowPatch(
            tuple(start + lean * radius),
            tuple(end + back * (radius + 0.02)),
            connectionstyle="arc3,rad=0.14",
            arrowstyle=f"-|>,head_length={3.2 + 3 * abs(strength)},head_width={1.6 + 1.6 * abs(strength)}",
            linewidth=0.5 + 4.5 * abs(strength),
            color=POSITIVE if strength > 0 else NEGATIVE,
            alpha=0.15 + 0.8 * confidence,
            shrinkA=0,
            shrinkB=0,
            mutation_scale=1,
            joinstyle="miter",
            capstyle="butt",
            zorder=2,
        )
    )


def _network_legend(axes: Axes) -> None:
    lines = [
        Line2D([], [], color=POSITIVE, linewidth=2.5, label="more of the source, more of the target"),
        Line2D([], [], color=NEGATIVE, linewidth=2.5, label="more of the source, less of the target"),
        Line2D([], [], color=SOFT, linewidth=0.5 + 4.5 * 0.2, label="strength .2"),
        Line2D([], [], color=SOFT, linewidth=0.5 + 4.5 * 0.6, label="strength .6"),
    ]
    axes.legend(handles=lines, loc="upper center", bbox_to_anchor=(0.5, 0.03), ncols=2, handlelength=1.8)


def readings_figure(tables: Sequence[tuple[str, Matrix]], attributes: Sequence[str]) -> bytes:
    """What each node tells of each attribute: Somers' D [node, attribute] of the node given the attribute."""
    n = len(attributes)
    side = float(np.clip(0.45 * n, 2.4, 7.0))
    names = [short(name, 12) for name in attributes]
    with figure(len(tables) * (side + 0.95) + 0.8, side + 0.95) as drawn:
        grid = drawn.subplots(1, len(tables), squeeze=False)
        for axes, (title, table) in zip(grid.flat, tables):
            axes.imshow(table, cmap=SIGNED, vmin=-1, vmax=1)
            axes.set_title(title)
            axes.set_xticks(range(n), names, rotation=40, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(n), names)
            axes.tick_params(length=0, labelcolor=INK)
            for spine in axes.spines.values():
                spine.set_visible(False)
            axes.set(xlabel="attribute", ylabel="node")
            for i, j in np.ndindex(*table.shape):
                if n <= MOST_NUMBERS:
                    value = float(table[i, j])
                    colour = readable_on(SIGNED((0.0 if np.isnan(value) else value) / 2 + 0.5))
                    weight = "bold" if i == j else "normal"
                    axes.text(j, i, signed(value), ha="center", va="center", color=colour, fontsize=7.5, weight=weight)
        scale = ScalarMappable(Normalize(-1, 1), SIGNED)
        bar = drawn.colorbar(scale, ax=grid, shrink=0.75, aspect=20, pad=0.02)
        bar.set_label("Somers' D of the node given the attribute")
        bar.outline.set_visible(False)
        return png(drawn)
