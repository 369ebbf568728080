"""How far the relations among the model's own images are from those of the data: edge by edge, and look by look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from gem_ray.evaluation.curve_figures import PLAIN
from gem_ray.evaluation.image_figures import short
from gem_ray.evaluation.plot_style import ACCENT, FAINT, INK, NEGATIVE, POSITIVE, SOFT, figure, png
from gem_ray.evaluation.relations import edge_fidelity, fidelity_noise, relation_fidelity
from gem_ray.evaluation.spending import Look
from gem_ray.graph.disgraph import DisGraph

NAMED_EDGES = 4


def fidelity_figure(graph: DisGraph, looks: Sequence[Look]) -> bytes:
    """PNG: every edge, data across and model up; beside it the mean gap of every look, if there are several."""
    several = len(looks) > 1
    with figure(8.6 if several else 4.6, 4.3) as drawn:
        panels = drawn.subplots(1, 1 + several, squeeze=False, gridspec_kw={"wspace": 0.08}).flat
        _draw_edges(panels[0], graph)
        if several:
            _draw_looks(panels[1], looks)
        return png(drawn)


def _draw_edges(axes: Axes, graph: DisGraph) -> None:
    gap = edge_fidelity(graph)
    known = np.isfinite(gap)
    x, y, error = graph.strength[known], graph.sampled[known], graph.sampled_standard_error[known]
    source, target = np.nonzero(known)
    reach = 1.08 * max(0.2, float(np.abs(np.concatenate([x, y])).max(initial=0.0)))
    axes.plot([-reach, reach], [-reach, reach], color=FAINT, linewidth=1, zorder=1)
    axes.axhline(0, color=FAINT, linewidth=0.6, zorder=0)
    axes.axvline(0, color=FAINT, linewidth=0.6, zorder=0)
    axes.errorbar(x, y, yerr=2 * error, fmt="none", ecolor=SOFT, elinewidth=0.6, alpha=0.7, zorder=2)
    axes.scatter(x, y, s=20, c=np.where(x < 0, NEGATIVE, POSITIVE), edgecolor="white", linewidth=0.5, zorder=3)
    halo = withStroke(linewidth=2.5, foreground="white")
    for k in np.argsort(-gap[known])[:NAMED_EDGES]:
        name = f"{short(graph.attributes[source[k]], 12)} → {short(graph.attributes[target[k]], 12)}"
        right = x[k] > 0
        axes.annotate(
            name, (x[k], y[k]), xytext=(-6 if right else 6, 0), textcoords="offset points", fontsize=7.5,
            ha="right" if right else "left", va="center", path_effects=[halo], zorder=4,
        )  # fmt: skip
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.set(xlabel="strength in the DisGraph", ylabel="among the model’s own images (bar: 2 standard errors)")
    mean, noise = relation_fidelity(graph), fidelity_noise(graph)
    words = "" if mean is None else f"Mean gap {mean:.3f}".replace(" 0.", " .")
    axes.set_title(words + ("" if noise is None else f", noise alone {noise:.3f}".replace(" 0.", " .")))


def _draw_looks(axes: Axes, looks: Sequence[Look]) -> None:
    steps = [look.step for look in looks]
    axes.fill_between(steps, 0, [look.noise for look in looks], color=FAINT, alpha=0.7, linewidth=0)
    axes.plot(steps, [look.gap for look in looks], "o-", color=ACCENT, linewidth=1.6, markersize=4)
    axes.annotate(
        "a model that is exactly right, by chance", (steps[0], looks[0].noise), xytext=(3, -4),
        textcoords="offset points", va="top", color=SOFT, fontsize=7.5,
    )  # fmt: skip
    axes.set_title("Mean gap over the training")
    axes.set_ylim(0, 1.15 * max(max(look.gap, look.noise) for look in looks))
    axes.set_xlabel("step of the checkpoint")
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_formatter(PLAIN)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.tick_params(labelcolor=INK)
