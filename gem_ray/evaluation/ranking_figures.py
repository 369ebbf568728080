"""The ranked relations for a terminal, and as a figure: both directions of every pair side by side."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gem_ray.evaluation.graph_figures import signed
from gem_ray.evaluation.image_figures import short
from gem_ray.evaluation.plot_style import FAINT, INK, NEGATIVE, POSITIVE, SOFT, figure, png
from gem_ray.evaluation.ranking import FALSE_DISCOVERIES, RankedEdge, RankedPair, evidence_words, num_found

MOST_DRAWN = 45  # pairs in one figure; more of them are in the table
LONGEST_NAME = 16
ROW_INCHES, PANEL_INCHES = 0.25, 2.35
SHADE = "#f5f6f7"


def ranking_table(pairs: Sequence[RankedPair], version: int, most: int = 0) -> Table:
    """Two lines a pair, the stronger direction first; those that may be noise are dim.

    Args:
        version: of the graph
        most: pairs that are shown, 0 for all
    """
    found, edges = num_found(pairs)
    table = Table(
        title=f"DisGraph version {version}: {found} of {edges} directed relations are more than noise",
        caption=(
            "Strength: Somers' D of the target given the source, with its 95 % interval. noise?: not told from 0 at a "
            f"false discovery rate of {100 * FALSE_DISCOVERIES:.0f} % over all directed pairs (Benjamini-Hochberg). "
            "Model: the same among the model's own images, and how far that is off."
        ),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
    )
    table.add_column("", justify="right", min_width=3)
    table.add_column("relation", no_wrap=True)
    for name, least in (("strength", 8), ("95 % interval", 13), ("conf.", 5), ("", 6), ("model", 5), ("gap", 3)):
        table.add_column(name, justify="right" if name else "left", no_wrap=True, min_width=least)
    table.add_column("evidence", min_width=11)
    for rank, pair in enumerate(pairs[: most or None], start=1):
        for edge in (pair.first, pair.second):
            table.add_row(
                str(rank) if edge is pair.first else "",
                Text(_name(edge)),
                Text(signed(edge.strength) if edge.low is not None else "–", style=_colour_name(edge)),
                _interval(edge),
                f"{edge.confidence:.2f}",
                "noise?" if edge.may_be_noise else "",
                "–" if edge.sampled is None else signed(edge.sampled),
                "–" if edge.fidelity is None else f"{edge.fidelity:.2f}".removeprefix("0"),
                evidence_words(edge),
                style="dim" if edge.may_be_noise else "",
                end_section=edge is pair.second,
            )
    return table


def _colour_name(edge: RankedEdge) -> str:
    return "" if edge.strength == 0 or edge.may_be_noise else "bold blue" if edge.strength > 0 else "bold red"


def _interval(edge: RankedEdge) -> str:
    return "–" if edge.low is None or edge.high is None else f"[{signed(edge.low)}, {signed(edge.high)}]"


def ranking_figure(pairs: Sequence[RankedPair], version: int) -> bytes:
    """PNG: every pair a row, its stronger direction on the left; dots with 95 % intervals, hollow where noise."""
    drawn_pairs = list(pairs[:MOST_DRAWN])
    rows = len(drawn_pairs)
    longest = max(len(_name(edge)) for pair in drawn_pairs for edge in (pair.first, pair.second))
    name_inches = 0.072 * longest + 0.15
    evidence_inches = 0.062 * max(len(evidence_words(pair.first)) for pair in drawn_pairs) + 0.2
    width, height = 2 * (name_inches + PANEL_INCHES + 0.77) + max(0.8, evidence_inches), ROW_INCHES * rows + 1.45
    reach = 1.06 * max(
        abs(value)
        for pair in drawn_pairs
        for edge in (pair.first, pair.second)
        for value in (edge.strength, edge.low or 0.0, edge.high or 0.0, edge.sampled or 0.0)
    )
    reach = max(reach, 0.1)
    with figure(width, height) as drawn:
        drawn.set_layout_engine("none")
        left = name_inches + 0.3
        for side, title in enumerate(("Stronger direction", "The other direction")):
            edges = [(pair.first, pair.second)[side] for pair in drawn_pairs]
            axes = _panel(drawn, left, width, height, rows)
            _draw_side(axes, edges, reach)
            axes.set_title(title)
            left += PANEL_INCHES + 0.65 + name_inches
        _draw_evidence(axes, drawn_pairs)
        found, total = num_found(pairs)
        omitted = f"; the {rows} strongest of {len(pairs)} pairs" if rows < len(pairs) else ""
        drawn.text(
            0.2 / width,
            1 - 0.27 / height,
            f"DisGraph version {version}: {found} of {total} directed relations are more than noise{omitted}",
            fontsize=10.5,
            fontweight="bold",
        )
        _legend(drawn, width, height, any(edge.sampled is not None for pair in pairs for edge in (pair.first,)))
        return png(drawn)


def _panel(drawn: Figure, left: float, width: float, height: float, rows: int) -> Axes:
    bottom = 0.72
    return drawn.add_axes((left / width, bottom / height, PANEL_INCHES / width, ROW_INCHES * rows / height))


def _draw_side(axes: Axes, edges: Sequence[RankedEdge], reach: float) -> None:
    axes.set(xlim=(-reach, reach), ylim=(len(edges) - 0.5, -0.5))
    for row in range(0, len(edges), 2):
        axes.axhspan(row - 0.5, row + 0.5, color=SHADE, zorder=0, linewidth=0)
    axes.axvline(0, color=SOFT, linewidth=0.7, zorder=1)
    for row, edge in enumerate(edges):
        colour = SOFT if edge.may_be_noise else POSITIVE if edge.strength > 0 else NEGATIVE
        if edge.low is not None and edge.high is not None:
            axes.plot([edge.low, edge.high], [row, row], color=colour, linewidth=1.5, zorder=2)
            fill = "white" if edge.may_be_noise else colour
            axes.plot(edge.strength, row, "o", markersize=5, color=colour, markerfacecolor=fill, zorder=4)
        if edge.sampled is not None:
            axes.plot(edge.sampled, row, "d", markersize=4.2, color=INK, markerfacecolor="none", linewidth=0, zorder=3)
        ink = SOFT if edge.may_be_noise else INK
        text = "–" if edge.low is None else signed(edge.strength)
        weight = "normal" if edge.may_be_noise else "bold"
        axes.annotate(
            text, (1, row), xytext=(31, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="right", va="center", color=colour if edge.low is not None else SOFT, fontweight=weight, fontsize=8,
        )  # fmt: skip
        axes.annotate(
            _name(edge), (0, row), xytext=(-7, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="right", va="center", color=ink,
        )  # fmt: skip
    axes.set_yticks([])
    axes.grid(axis="x", color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel("Somers’ D of the target given the source")


def _draw_evidence(axes: Axes, pairs: Sequence[RankedPair]) -> None:
    for row, pair in enumerate(pairs):
        axes.annotate(
            evidence_words(pair.first), (1, row), xytext=(44, 0), xycoords=("axes fraction", "data"), va="center",
            color=SOFT, fontsize=7.5, textcoords="offset points",
        )  # fmt: skip
    axes.annotate(
        "Evidence", (1, 1), xytext=(44, 7), xycoords="axes fraction", color=INK, fontweight="bold", fontsize=9,
        textcoords="offset points",
    )  # fmt: skip


def _legend(drawn: Figure, width: float, height: float, sampled: bool) -> None:
    marks = [
        Line2D([], [], color=POSITIVE, marker="o", markersize=5, label="more of the source, more of the target"),
        Line2D([], [], color=NEGATIVE, marker="o", markersize=5, label="more of the source, less of the target"),
        Line2D([], [], color=SOFT, marker="o", markersize=5, markerfacecolor="white", label="may be noise"),
    ]
    if sampled:
        label = "the same among the model’s own images"
        marks.append(
            Line2D([], [], color=INK, marker="d", markersize=4.2, markerfacecolor="none", linewidth=0, label=label)
        )
    drawn.legend(handles=marks, loc="lower left", bbox_to_anchor=(0.12 / width, 0.02 / height), ncols=len(marks))


def _name(edge: RankedEdge) -> str:
    return f"{short(edge.source, LONGEST_NAME)} → {short(edge.target, LONGEST_NAME)}"
