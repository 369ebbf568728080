"""Figures over training steps, and of what each latent carries at the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from gem_ray.evaluation.history import History
from gem_ray.evaluation.image_figures import short
from gem_ray.evaluation.plot_style import ACCENT, CYCLE, FAINT, INK, SECOND, SOFT, figure, png

TERMS = {
    "total": "Total loss",
    "reconstruction": "Reconstruction",
    "kl": "KL, weighted",
    "graph": "Pull to the DisGraph",
    "align": "Alignment with the MLLM",
    "adversarial": "Adversarial term",
    "discriminator": "Discriminator",
    "total_correlation": "Total correlation",
    "latent_critic": "Critic of the latents",
    "covariance": "Covariance",
    "contrastive": "Contrastive term",
    "perceptual": "Perceptual term",
    "cross_covariance": "Nodes apart from the rest",
}
PLAIN = FuncFormatter(lambda value, _: f"{value:,.10g}".replace("-", "−"))


def losses_figure(history: History, attributes: Sequence[str]) -> bytes:
    """Every loss term that was on, the KL of each node and the training rate; ticks mark new versions of the graph."""
    steps = history.column("step")
    terms = [name for name in TERMS if np.nanmax(np.abs(history.column(name)), initial=0.0) > 0]
    changes = _changes(history)
    columns = 3 if len(terms) + 2 in {3, 5, 6, 9} else 4
    rows = -(-(len(terms) + 2) // columns)
    with figure(2.9 * columns + 0.6, 2.2 * rows) as drawn:
        grid = drawn.subplots(rows, columns, squeeze=False).flat
        for name, axes in zip(terms, grid):
            _curve(axes, steps, history.column(name), ACCENT)
            axes.set_title(TERMS[name])
            _mark(axes, changes)
        _curve(grid[len(terms)], steps, history.column("images_per_s"), SECOND)
        grid[len(terms)].set_title("Training images per second")
        grid[len(terms)].set_ylim(bottom=0)
        at_the_edge = (len(terms) + 2) % columns == 0
        _node_curves(grid[len(terms) + 1], steps, history.table("kl_nodes"), attributes, at_the_edge)
        for axes in grid[len(terms) + 2 :]:
            axes.set_visible(False)
        for axes in grid[max(0, len(terms) + 2 - columns) : len(terms) + 2]:
            axes.set_xlabel("step")
        return png(drawn)


def rescoring_figure(history: History) -> bytes:
    """How the MLLM and the graph kept pace with training: questions, versions, and the age of the graph in use."""
    steps = history.column("step")
    asked, missing = history.column("questions_asked"), history.column("questions_missing")
    with figure(10.2, 2.35) as drawn:
        questions, versions, age = drawn.subplots(1, 3)
        questions.plot(steps, asked, color=ACCENT, linewidth=1.6)
        questions.plot(steps, missing, color=SECOND, linewidth=1.6)
        questions.set_title("Questions asked of the MLLM")
        if asked.size:
            _name_end(questions, steps[-1], asked[-1], "asked", ACCENT)
            _name_end(questions, steps[-1], missing[-1], "missing", SECOND)
        versions.step(steps, history.column("graph_version"), where="post", color=ACCENT, linewidth=1.6)
        versions.set_title("DisGraph version in use")
        versions.yaxis.set_major_locator(MaxNLocator(integer=True))
        age.plot(steps, history.column("graph_age_s"), color=ACCENT, linewidth=1.2)
        age.set_title("Age of the graph in use, seconds")
        for axes in (questions, versions, age):
            _step_axis(axes, steps)
            axes.set_ylim(bottom=0)
            axes.set_xlabel("step")
            axes.yaxis.set_major_formatter(PLAIN)
        return png(drawn)


def latents_figure(
    kl_L: NDArray[np.floating],
    sensitivity_L: NDArray[np.floating],
    attributes: Sequence[str],
    node_dim: int,
) -> bytes:
    """KL of every latent, and how much the decoder heeds it; named nodes in colour, residual latents in grey."""
    num_named = len(attributes) * node_dim
    suffixes = [f" {d + 1}" if node_dim > 1 else "" for d in range(node_dim)]
    residual = num_named + np.argsort(-kl_L[num_named:], kind="stable")
    order = np.concatenate([np.arange(num_named), residual])
    names = [short(name, 12) + suffix for name in attributes for suffix in suffixes]
    colours = [ACCENT] * num_named + ["#aeb6be"] * len(residual)
    with figure(max(6.5, 0.2 * len(order) + 1.2), 3.4) as drawn:
        upper, lower = drawn.subplots(2, 1, sharex=True)
        for axes, values, title in (
            (upper, kl_L[order], "KL to the prior, nats: what the encoder writes"),
            (lower, sensitivity_L[order] * 255, "Mean change of a pixel, grey levels: what the decoder reads"),
        ):
            axes.bar(range(len(order)), values, color=colours, width=0.78)
            axes.set_title(title)
            axes.grid(axis="y", color=FAINT, linewidth=0.5)
            axes.set_axisbelow(True)
            axes.set_ylim(bottom=0)
        lower.set_xticks(range(num_named), names, rotation=40, ha="right", rotation_mode="anchor")
        lower.tick_params(axis="x", length=0, labelcolor=INK)
        upper.tick_params(axis="x", length=0)
        upper.set_xlim(-0.8, len(order) - 0.2)
        if len(residual):
            middle = num_named + (len(residual) - 1) / 2
            label = f"{len(residual)} residual latents, by KL"
            lower.annotate(label, (middle, 0), xytext=(0, -9), textcoords="offset points", ha="center", va="top",
                           color=SOFT, annotation_clip=False, fontsize=7.5)  # fmt: skip
        return png(drawn)


def smoothed(values: NDArray[np.floating], span: int) -> NDArray[np.float64]:
    """Centred mean over ``span`` neighbours, shorter at the ends; NaN stays out of the means."""
    if not len(values):
        return np.zeros(0)
    known = ~np.isnan(values)
    kernel = np.ones(min(span, len(values)))
    total = np.convolve(np.where(known, values, 0.0), kernel, mode="same")
    count = np.convolve(known.astype(np.float64), kernel, mode="same")
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0.5)


def _curve(axes: Axes, steps: NDArray[np.float64], values: NDArray[np.float64], colour: str) -> None:
    axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
    smooth = smoothed(values, max(1, len(values) // 30))
    axes.plot(steps, smooth, color=colour, linewidth=1.6)
    known = values[~np.isnan(values)]
    if known.size > 20:
        # The first steps would otherwise press everything that follows into a flat line.
        low, high = known.min(), np.quantile(known, 0.97)
        axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low) + 1e-9)
    _step_axis(axes, steps)
    axes.yaxis.set_major_formatter(PLAIN)
    axes.yaxis.set_major_locator(MaxNLocator(5))


def _node_curves(
    axes: Axes, steps: NDArray[np.float64], table: NDArray[np.float64], attributes: Sequence[str], at_the_edge: bool
) -> None:
    axes.set_title("KL of each node, nats")
    for node in range(table.shape[1]):
        values = smoothed(table[:, node], max(1, len(steps) // 30))
        axes.plot(steps, values, color=CYCLE[node % len(CYCLE)], linewidth=1.3, label=short(attributes[node], 10))
    _step_axis(axes, steps)
    axes.set_ylim(bottom=0)
    if 0 < table.shape[1] <= len(CYCLE):
        names = axes.legend(loc="upper left", bbox_to_anchor=(1.03, 1), handlelength=1, labelspacing=0.3, borderpad=0)
        # The names may stand in the empty place to the right; at the edge of the figure they need room.
        names.set_in_layout(at_the_edge)


def _step_axis(axes: Axes, steps: NDArray[np.float64]) -> None:
    axes.set_xlim(0, max(1.0, float(steps[-1])) if steps.size else 1.0)
    axes.xaxis.set_major_formatter(PLAIN)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)


def _changes(history: History) -> NDArray[np.float64]:
    """Steps at which training changed to a newer graph."""
    from_events = [line["step"] for line in history.events if line.get("event") == "graph" and "step" in line]
    return np.array(from_events, dtype=np.float64)


def _mark(axes: Axes, steps: NDArray[np.float64]) -> None:
    if steps.size:
        axes.vlines(steps, 0, 0.045, color=SOFT, linewidth=0.7, transform=axes.get_xaxis_transform())


def _name_end(axes: Axes, x: float, y: float, name: str, colour: str) -> None:
    axes.annotate(name, (x, y), xytext=(-2, 4), textcoords="offset points", ha="right", color=colour, fontsize=7.5)
