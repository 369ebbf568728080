"""How well an MLLM tells attributes: the table and the figure of ``jobs.check_mllm`` (the paper's figure 8)."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gem_ray.evaluation.plot_style import CYCLE, FAINT, INK, NEGATIVE, POSITIVE, SOFT, figure, png
from gem_ray.scoring.checking.agreement import TOP_DIGIT, Interval
from gem_ray.scoring.checking.checks import AttributeCheck, Check

PALE = "#9cc3e4"


def check_tables(check: Check) -> tuple[Table, Table]:
    """All figures, one row an attribute: what the scores tell, and what the answers are like. At chance: in red."""
    told = _table(
        f"{check.model} on {check.source}: {check.num_questions:,} questions at {check.questions_per_s:.0f} a second",
        ("rank correlation", "AUROC", "best", "at 2.5", "present"),
        "* no better than chance. 95 % intervals in brackets. best, at 2.5: share rightly called present or absent at "
        "the best threshold, chosen on the same images, and at 2.5.",
    )
    said = _table(
        "Answers",
        ("error", "calibration", "threshold", "zero-scored", "failed", "digit mass"),
        "Mean error, calibration error and best threshold in digits of 0 to 5. zero-scored: the likeliest digit is 0; "
        "failed: no digit could be read.",
    )
    for entry in check.attributes:
        name = Text(f"{entry.name} *", style="bold red") if entry.at_chance else Text(entry.name)
        told.add_row(
            name,
            _interval(entry.rank_correlation),
            _interval(entry.auroc),
            _share(entry.accuracy_best),
            _share(entry.accuracy_mid),
            f"{entry.num_present} of {entry.num_images}",
        )
        said.add_row(
            name,
            _number(entry.mean_error),
            _number(entry.calibration_error),
            _number(entry.best_threshold),
            _share(entry.zero_rate),
            _share(entry.failure_rate),
            _number(entry.digit_mass, 4),
        )
    return told, said


def _table(title: str, columns: tuple[str, ...], caption: str) -> Table:
    table = Table(
        "attribute",
        title=title,
        caption=caption,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def check_figure(check: Check) -> bytes:
    """PNG of four panels: telling the attribute, calling presence, calibration, and how often it says 0 or nothing."""
    entries = check.attributes
    with figure(10.5, 2.6 + 2 * max(1.5, 0.28 * len(entries))) as drawn:
        (told, right), (calibrated, silent) = drawn.subplots(2, 2, gridspec_kw={"wspace": 0.06, "hspace": 0.06})
        _draw_told(told, entries)
        _draw_right(right, entries)
        _draw_calibration(calibrated, entries)
        _draw_silence(silent, entries)
        for axes in (told, right, silent):
            _name_rows(axes, entries)
        verdict = (
            f"at chance: {', '.join(check.at_chance)}" if check.at_chance else "every attribute better than chance"
        )
        drawn.suptitle(
            f"{check.model} on {check.source}  ({verdict})",
            x=0.01,
            ha="left",
            fontsize=10.5,
            fontweight="bold",
            color=INK,
        )
        return png(drawn)


def _draw_told(axes: Axes, entries: tuple[AttributeCheck, ...]) -> None:
    axes.set_title("Does the score tell the attribute?")
    for chance, colour in ((0.5, POSITIVE), (0.0, SOFT)):
        axes.axvline(chance, color=colour, linewidth=0.8, linestyle=(0, (3, 3)), zorder=0)
    for row, entry in enumerate(entries):
        for value, offset, colour, marker in (
            (entry.auroc, -0.14, POSITIVE, "o"),
            (entry.rank_correlation, 0.14, SOFT, "D"),
        ):
            if math.isfinite(value.value):
                axes.plot([value.low, value.high], [row + offset] * 2, color=colour, linewidth=1.6)
                axes.plot(value.value, row + offset, marker, color=colour, markersize=4.5)
    values = [value.low for entry in entries for value in (entry.auroc, entry.rank_correlation)]
    axes.set_xlim(min(-0.05, np.nanmin([*values, 0.0]) - 0.05), 1.03)
    axes.set_xlabel("with 95 % intervals; dashed: chance")
    area = Line2D([], [], marker="o", color=POSITIVE, markersize=4.5, label="area under the ROC curve (chance: .5)")
    rank = Line2D([], [], marker="D", color=SOFT, markersize=4.5, label="rank correlation (chance: 0)")
    _legend_below(axes, area, rank)


def _draw_right(axes: Axes, entries: tuple[AttributeCheck, ...]) -> None:
    axes.set_title("How often is presence called right?")
    for row, entry in enumerate(entries):
        axes.barh(row - 0.17, entry.accuracy_best, height=0.3, color=POSITIVE)
        axes.barh(row + 0.17, entry.accuracy_mid, height=0.3, color=PALE)
        if entry.num_images:
            share = entry.num_present / entry.num_images
            axes.plot([max(share, 1 - share)] * 2, [row - 0.4, row + 0.4], color=NEGATIVE, linewidth=1.6)
    always = Line2D([], [], color=NEGATIVE, label="always the commoner answer")
    axes.set_xlim(0, 1.0)
    axes.set_xlabel("share of images")
    best, mid = Patch(color=POSITIVE, label="at the best threshold"), Patch(color=PALE, label="at 2.5")
    _legend_below(axes, best, mid, always)


def _draw_calibration(axes: Axes, entries: tuple[AttributeCheck, ...]) -> None:
    axes.set_title("Does a score mean what it says?")
    axes.plot([0, TOP_DIGIT], [0, TOP_DIGIT], color=FAINT, linewidth=1.2, zorder=0)
    for place, entry in enumerate(entries):
        scored, true = [part.scored for part in entry.reliability], [part.true for part in entry.reliability]
        colour, dashes = CYCLE[place % len(CYCLE)], "-" if place < len(CYCLE) else "--"
        axes.plot(scored, true, dashes, marker="o", markersize=2.0, linewidth=1.0, color=colour, label=entry.name)
        total = sum(part.count for part in entry.reliability)
        sizes = [200.0 * part.count / total for part in entry.reliability]
        axes.scatter(scored, true, s=sizes, color=colour, alpha=0.45, linewidths=0)
    axes.set(xlim=(-0.1, TOP_DIGIT + 0.1), ylim=(-0.1, TOP_DIGIT + 0.1))
    axes.set_xlabel("mean score of a group of answers (digits); area: how many")
    axes.set_ylabel("mean truth of the same images")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), ncols=1 + (len(entries) - 1) // 12)


def _draw_silence(axes: Axes, entries: tuple[AttributeCheck, ...]) -> None:
    axes.set_title("How often does it say 0, or nothing?")
    for row, entry in enumerate(entries):
        axes.barh(row - 0.17, entry.zero_rate, height=0.3, color=SOFT)
        axes.barh(row + 0.17, entry.failure_rate, height=0.3, color=NEGATIVE)
        absent = 1 - entry.num_present / entry.num_images if entry.num_images else math.nan
        axes.plot([absent] * 2, [row - 0.4, row + 0.06], color=INK, linewidth=1.4)
    axes.set_xlim(0, 1.0)
    axes.set_xlabel("share of answers; failed: of questions")
    zero, failed = Patch(color=SOFT, label="zero-scored"), Patch(color=NEGATIVE, label="failed")
    _legend_below(axes, zero, failed, Line2D([], [], color=INK, label="truly absent"))


def _name_rows(axes: Axes, entries: tuple[AttributeCheck, ...]) -> None:
    axes.set_yticks(range(len(entries)), [entry.name for entry in entries])
    axes.set_ylim(len(entries) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    for label, entry in zip(axes.get_yticklabels(), entries):
        label.set_color(NEGATIVE if entry.at_chance else INK)


def _legend_below(axes: Axes, *handles: Artist) -> None:
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(-0.02, -0.2), ncols=3, columnspacing=1.2)


def _interval(value: Interval) -> str:
    if not math.isfinite(value.value):
        return "?"
    return f"{value.value:.3f} [{value.low:.2f}, {value.high:.2f}]".replace("0.", ".")


def _number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "?"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %" if math.isfinite(value) else "?"
