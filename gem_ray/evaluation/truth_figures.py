"""The DisGraph against the true relations: matrix beside matrix with their difference, and pair by pair.

All matrices are [n, n], indexed [source, target], in [-1, 1], NaN where nothing is known; diagonals are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patheffects import withStroke

from gem_ray.evaluation.graph_figures import Matrix, Panel, draw_panel
from gem_ray.evaluation.image_figures import short
from gem_ray.evaluation.plot_style import FAINT, NEGATIVE, POSITIVE, SIGNED, SOFT, figure, png

LEAST_REACH = 0.1
"""Differences are never drawn on a finer scale: those of a good graph would look like those of a bad one."""


def against_truth_figure(found: Panel, truth: Matrix, attributes: Sequence[str]) -> bytes:
    """The graph, the truth, and the graph less the truth on a scale of its own."""
    n = len(attributes)
    names = [short(name, 12) for name in attributes]
    side = float(np.clip(0.47 * n, 2.6, 5.0))
    difference = found.values - truth
    off_diagonal = np.abs(difference[~np.eye(n, dtype=bool)])
    # A round figure just above the greatest, so that the bar's ends can be read.
    reach = max(LEAST_REACH, float(np.ceil(20 * np.nanmax(off_diagonal, initial=0.0)) / 20))
    panels = (found, Panel(title="Truth", values=truth), Panel(title="DisGraph − truth", values=difference))
    with figure(3 * (side + 0.8) + 1.6, side + 0.95) as drawn:
        grid = drawn.subplots(1, 3)
        for axes, panel, end in zip(grid, panels, (1.0, 1.0, reach)):
            draw_panel(axes, panel, names, end)
        for axes, end, label in ((grid[:2], 1.0, "signed strength"), (grid[2:], reach, "difference")):
            scale = ScalarMappable(Normalize(-end, end), SIGNED)
            bar = drawn.colorbar(scale, ax=list(axes), shrink=0.75, aspect=20, pad=0.02)
            bar.set_label(label)
            bar.outline.set_visible(False)
        return png(drawn)


def agreement_figure(strength: Matrix, standard_error: Matrix, truth: Matrix, attributes: Sequence[str]) -> bytes:
    """Each directed pair: true strength across, the DisGraph's up with two standard errors; the worst are named."""
    n = len(attributes)
    pairs = np.isfinite(strength) & np.isfinite(truth) & np.isfinite(standard_error) & ~np.eye(n, dtype=bool)
    source, target = np.nonzero(pairs)
    x, y, error = truth[pairs], strength[pairs], standard_error[pairs]
    with figure(4.4, 4.2) as drawn:
        axes = drawn.subplots()
        reach = 1.08 * max(0.2, float(np.abs(np.concatenate([x, y])).max(initial=0.0)))
        axes.plot([-reach, reach], [-reach, reach], color=FAINT, linewidth=1, zorder=1)
        axes.axhline(0, color=FAINT, linewidth=0.6, zorder=0)
        axes.axvline(0, color=FAINT, linewidth=0.6, zorder=0)
        axes.errorbar(x, y, yerr=2 * error, fmt="none", ecolor=SOFT, elinewidth=0.7, zorder=2)
        axes.scatter(x, y, s=20, c=np.where(x < 0, NEGATIVE, POSITIVE), edgecolor="white", linewidth=0.5, zorder=3)
        halo = withStroke(linewidth=2.5, foreground="white")
        for k in np.argsort(-np.abs(x - y))[:3]:
            name = f"{short(attributes[source[k]], 12)} → {short(attributes[target[k]], 12)}"
            right = x[k] > 0
            axes.annotate(
                name, (x[k], y[k]), xytext=(-6 if right else 6, 0), textcoords="offset points", fontsize=7.5,
                ha="right" if right else "left", va="center", path_effects=[halo],
            )  # fmt: skip
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axes.set(xlabel="true Somers' D", ylabel="strength in the DisGraph (bar: 2 standard errors)")
        return png(drawn)
