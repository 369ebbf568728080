"""The figures of a table: methods side by side in every metric, and their differences from the reference."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gem_ray.evaluation.plot_style import ACCENT, FAINT, INK, NEGATIVE, POSITIVE, SOFT, figure, png
from gem_ray.table.markdown import Contents, difference
from gem_ray.table.metrics import Metric, shown
from gem_ray.table.record import values_by_seed
from gem_ray.table.statistics import Spread, spread

COLUMNS = 4
PANEL_INCHES, ROW_INCHES, NAME_INCHES = 1.95, 0.235, 0.075
HEAD_INCHES, LINE_INCHES, FOOT_INCHES = 0.62, 0.55, 0.3
SHADE = "#f5f6f7"


def methods_chart(contents: Contents, experiment: str) -> bytes:
    """PNG: a panel for each metric, a row for each method: its seeds, their mean, one standard deviation each way."""
    metrics = shown([record.numbers for record in contents.of(experiment)])
    with figure(*_size(len(metrics), contents.methods)) as drawn:
        for axes, metric, first in _panels(drawn, metrics, contents.methods):
            _draw_methods(axes, contents, experiment, metric)
            _name_rows(axes, contents.methods, contents.reference, first)
        marks = [
            Line2D([], [], color=ACCENT, marker="o", markersize=5.5, label="mean ± standard deviation over seeds"),
            Line2D([], [], color=SOFT, marker="o", markersize=3, linewidth=0, alpha=0.75, label="one seed"),
            Line2D([], [], color=FAINT, linestyle="--", linewidth=1, label=f"mean of {contents.reference}"),
        ]
        _finish(drawn, f"Methods on {experiment}", marks if contents.reference else marks[:2])
        return png(drawn)


def differences_chart(contents: Contents, experiment: str) -> bytes:
    """PNG: a panel for each score, a row for each method: its paired difference from the reference, 95 % interval."""
    metrics = [m for m in shown([r.numbers for r in contents.of(experiment)]) if m.higher_is_better is not None]
    others = [name for name in contents.methods if name != contents.reference]
    with figure(*_size(len(metrics), others)) as drawn:
        for axes, metric, first in _panels(drawn, metrics, others):
            _draw_differences(axes, contents, experiment, metric, others)
            _name_rows(axes, others, "", first)
        words = f"than {contents.reference}, 95 % interval without 0"
        marks = [
            Line2D([], [], color=POSITIVE, marker="o", markersize=5, label=f"better {words}"),
            Line2D([], [], color=NEGATIVE, marker="o", markersize=5, label=f"worse {words}"),
            Line2D([], [], color=SOFT, marker="o", markersize=5, markerfacecolor="white", label="may be chance"),
            Line2D([], [], color=SOFT, marker=">", markersize=4, linewidth=0, label="goes on"),
        ]
        _finish(drawn, f"Paired differences from {contents.reference} on {experiment}", marks)
        return png(drawn)


def _size(num_panels: int, rows: Sequence[str]) -> tuple[float, float]:
    columns = min(COLUMNS, max(1, num_panels))
    height = (
        math.ceil(num_panels / columns) * (ROW_INCHES * len(rows) + LINE_INCHES)
        + HEAD_INCHES
        - LINE_INCHES
        + 0.2
        + FOOT_INCHES
    )
    return columns * PANEL_INCHES + _name_inches(rows) + 0.2, height


def _name_inches(rows: Sequence[str]) -> float:
    return NAME_INCHES * max(map(len, rows)) + 0.2


def _panels(drawn: Figure, metrics: Sequence[Metric], rows: Sequence[str]) -> list[tuple[Axes, Metric, bool]]:
    """Axes of every metric, and whether it is the first of its line (which names the rows)."""
    drawn.set_layout_engine("none")
    width, height = drawn.get_size_inches()
    columns = min(COLUMNS, len(metrics))
    line_inches = ROW_INCHES * len(rows) + LINE_INCHES
    found = []
    for place, metric in enumerate(metrics):
        line, column = divmod(place, columns)
        left = 0.1 + _name_inches(rows) + column * PANEL_INCHES
        bottom = height - HEAD_INCHES - line * line_inches - ROW_INCHES * len(rows)
        box = (left / width, bottom / height, (PANEL_INCHES - 0.3) / width, ROW_INCHES * len(rows) / height)
        axes = drawn.add_axes(box)
        axes.set(ylim=(len(rows) - 0.5, -0.5), yticks=[])
        axes.set_title(metric.title, fontsize=8.5)
        axes.title.set_position((0, 1))
        for row in range(0, len(rows), 2):
            axes.axhspan(row - 0.5, row + 0.5, color=SHADE, zorder=0, linewidth=0)
        axes.grid(axis="x", color=FAINT, linewidth=0.5)
        axes.set_axisbelow(True)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(axis="both", length=0)
        axes.locator_params(axis="x", nbins=4)
        found.append((axes, metric, column == 0))
    return found


def _name_rows(axes: Axes, rows: Sequence[str], strong: str, first: bool) -> None:
    if not first:
        return
    for row, name in enumerate(rows):
        axes.annotate(
            name, (0, row), xytext=(-8, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="right", va="center", color=INK, fontweight="bold" if name == strong else "normal",
        )  # fmt: skip


def _draw_methods(axes: Axes, contents: Contents, experiment: str, metric: Metric) -> None:
    reach: list[float] = []
    for row, name in enumerate(contents.methods):
        values = values_by_seed(contents.records, name, experiment, metric.key)
        known = [value for value in values.values() if value is not None]
        found = spread(values)
        colour = ACCENT if name == contents.reference else INK
        _draw_seeds(axes, known, row)
        if not found.n:
            axes.annotate("–", (0.02, row), xycoords=("axes fraction", "data"), va="center", color=SOFT)
            continue
        low, high = _one_deviation(found)
        axes.plot([low, high], [row, row], color=colour, linewidth=1.4, zorder=4)
        axes.plot(found.mean, row, "o", markersize=5, color=colour, zorder=5)
        if name == contents.reference:
            axes.axvline(found.mean, color=FAINT, linestyle="--", linewidth=1, zorder=1)
        reach += [low, high, *known]
    _fit(axes, reach)


def _one_deviation(found: Spread) -> tuple[float, float]:
    deviation = 0.0 if math.isnan(found.deviation) else found.deviation
    return found.mean - deviation, found.mean + deviation


def _draw_differences(axes: Axes, contents: Contents, experiment: str, metric: Metric, others: Sequence[str]) -> None:
    axes.axvline(0, color=SOFT, linewidth=0.8, zorder=1)
    found = [difference(contents, experiment, name, metric) for name in others]
    points = [value for one in found for value in one.differences]
    # An interval of three seeds may be as wide as the whole scale; it is cut where it would flatten all the others.
    widest = 2.5 * max((abs(value) for value in points), default=1.0) or 1.0
    reach = [0.0]
    for row, one in enumerate(found):
        if not one.n:
            axes.annotate("–", (0.02, row), xycoords=("axes fraction", "data"), va="center", color=SOFT)
            continue
        better = (one.mean > 0) == metric.higher_is_better
        colour = SOFT if not one.is_clear else POSITIVE if better else NEGATIVE
        if one.n > 1:
            low, high = max(one.low, -widest), min(one.high, widest)
            axes.plot([low, high], [row, row], color=colour, linewidth=1.4, zorder=3)
            for end, cut, mark in ((low, low > one.low, "<"), (high, high < one.high, ">")):
                if cut:
                    axes.plot(end, row, mark, markersize=3.5, color=colour, zorder=3)
            reach += [low, high]
        fill = colour if one.is_clear else "white"
        _draw_seeds(axes, one.differences, row)
        axes.plot(one.mean, row, "o", markersize=5, color=colour, markerfacecolor=fill, zorder=5)
        reach += list(one.differences)
    _fit(axes, reach)


def _draw_seeds(axes: Axes, values: Sequence[float], row: int) -> None:
    """Below the mean and its line, which would cover them."""
    axes.plot(
        values, [row + 0.3] * len(values), "o", markersize=2.4, color=SOFT, alpha=0.75, markeredgewidth=0, zorder=3
    )


def _fit(axes: Axes, reach: Sequence[float]) -> None:
    if not reach:
        axes.set_xticks([])
        return
    low, high = min(reach), max(reach)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    axes.set_xlim(low - margin, high + margin)


def _finish(drawn: Figure, title: str, marks: Sequence[Line2D]) -> None:
    width, height = drawn.get_size_inches()
    drawn.text(0.12 / width, 1 - 0.22 / height, title, fontsize=10.5, fontweight="bold", va="center")
    drawn.legend(handles=list(marks), loc="lower left", bbox_to_anchor=(0.05 / width, 0.02 / height), ncols=len(marks))
