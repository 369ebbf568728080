"""Latents by factors: what each latent tells of each factor, before and after the graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from numpy.typing import NDArray

from gem_ray.evaluation.associations import Associations
from gem_ray.evaluation.image_figures import short
from gem_ray.evaluation.plot_style import FAINT, INK, figure, png, readable_on

KNOWN = LinearSegmentedColormap.from_list("known", ["#f7f8f9", "#cfe2f2", "#78afd9", "#1f6cb0", "#0b3c6d"])
MOST_NUMBERS = 14  # factors; more of them leave no room for numbers
TITLES = ("|Spearman|, before", "after the graph", "Information, before", "after the graph")


def associations_figure(found: Associations, num_nodes: int) -> bytes:
    """Four tables [latent, factor]; a line parts the ``num_nodes`` named latents from the residual ones."""
    rows, columns = found.spearman.shape
    wide = columns > MOST_NUMBERS
    cell = 0.26 if wide else 0.36
    width, height = cell * columns + 0.3, (0.2 if wide else 0.27) * rows + 0.3
    tables = (found.spearman, found.spearman_rel, found.information, found.information_rel)
    with figure(4 * width + 2.0, height + 1.1) as drawn:
        grid = drawn.subplots(1, 4, sharey=True)
        for axes, title, table in zip(grid, TITLES, tables):
            _draw(axes, table, found.factors, not wide)
            axes.set_title(title)
            axes.axhline(num_nodes - 0.5, color=INK, linewidth=0.8)
        grid[0].set_yticks(range(rows), [short(name, 16) for name in found.latents])
        bar = drawn.colorbar(ScalarMappable(Normalize(0, 1), KNOWN), ax=grid, shrink=0.8, aspect=24, pad=0.01)
        bar.set_label("0 nothing, 1 all of it")
        bar.outline.set_visible(False)
        return png(drawn)


def _draw(axes: Axes, table: NDArray[np.floating], factors: Sequence[str], numbers: bool) -> None:
    axes.imshow(np.ma.masked_invalid(table), cmap=KNOWN, vmin=0, vmax=1, aspect="auto")
    axes.set_facecolor(FAINT)
    axes.set_xticks(
        range(len(factors)), [short(name, 14) for name in factors], rotation=40, ha="right", rotation_mode="anchor"
    )
    axes.tick_params(length=0, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if not numbers:
        return
    for (i, j), value in np.ndenumerate(table):
        if np.isfinite(value) and value >= 0.05:
            text = "1" if value >= 0.995 else f"{value:.2f}".removeprefix("0")
            axes.text(j, i, text, ha="center", va="center", color=readable_on(KNOWN(float(value))), fontsize=7)
