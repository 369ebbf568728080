"""Names of latents for a terminal, and as a figure with a strip of pictures for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gem_ray.evaluation.graph_figures import signed
from gem_ray.evaluation.image_figures import short
from gem_ray.evaluation.plot_style import INK, NEGATIVE, POSITIVE, SOFT, canvas, mosaic, place, png
from gem_ray.scoring.looking.discovery import Discovery
from gem_ray.scoring.looking.naming import LatentName

LONGEST_NAME = 22
STRIP_HEIGHT_PX, GAP_PX = 88, 10
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 330, 640, 104, 60


def naming_table(found: Discovery) -> Table:
    """Every latent that changes the picture, named nodes first."""
    table = Table(
        title=f"Latents of step {found.strips.step:,}, as {found.model} sees them",
        caption=(
            "Strength: Somers' D of the name's score given the position of the latent, with its standard error; the "
            "sign says which way the latent runs. p: chance that the best of all matches is as good on shuffled frames."
        ),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    table.add_column("latent", no_wrap=True)
    table.add_column("name", no_wrap=True)
    for name in ("strength", "p", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("next best", no_wrap=True)
    if any(entry.proposed for entry in found.names):
        table.add_column("in open words")
    for entry in found.names:
        if entry.latent in found.strips.latents:
            row: list[str | Text] = [
                Text(label(entry)),
                Text(entry.name, style="bold") if entry.name else Text("no name", style="dim"),
                _strength(entry),
                "" if entry.p_value is None else f"{entry.p_value:.3f}",
                f"{entry.change:.1f}",
                Text(_runner_up(entry)),
            ]
            if len(table.columns) > len(row):
                row.append(Text("; ".join(entry.proposed)))
            table.add_row(*row)
    return table


def label(entry: LatentName) -> str:
    """The latent, and the node it belongs to."""
    return f"{entry.latent} ({short(entry.given, LONGEST_NAME)})" if entry.given else f"{entry.latent}"


def unnamed_words(found: Discovery) -> str:
    """How many latents change nothing, in a sentence; empty where there are none."""
    still = len(found.names) - len(found.strips.latents)
    return f"{still} of {len(found.names)} latents change nothing in the picture." if still else ""


def naming_figure(found: Discovery) -> bytes:
    """PNG: a strip of each latent that changes the picture, from the low to the high end of its codes."""
    strips = found.strips
    entries = [found.names[latent] for latent in strips.latents]
    side, num_frames = strips.images.shape[3], strips.images.shape[2]
    scale = max(1, round(STRIP_HEIGHT_PX / side))
    gap = max(1, side // 32)
    width_px = (num_frames * (side + gap) - gap) * scale
    step_px = side * scale + GAP_PX
    total = (LEFT_PX + width_px + RIGHT_PX, TOP_PX + max(1, len(entries)) * step_px + BOTTOM_PX)
    with canvas(*total) as drawn:

        def write(x_px: float, y_px: float, text: str, **style: Any) -> None:
            drawn.text(x_px / total[0], 1 - y_px / total[1], text, va="center", **style)

        write(24, 34, f"What each latent changes, as {found.model} sees it", fontsize=11, fontweight="bold")
        write(LEFT_PX, 82, "low", color=SOFT, fontsize=8)
        write(LEFT_PX + width_px, 82, "high", color=SOFT, fontsize=8, ha="right")
        write(LEFT_PX + width_px + 24, 82, "name and strength of the match", color=SOFT, fontsize=8)
        for row, entry in enumerate(entries):
            top = TOP_PX + row * step_px
            pictures = strips.images[row].astype(np.float64) / 255.0
            telling = int(np.abs(pictures[:, -1] - pictures[:, 0]).mean(axis=(1, 2, 3)).argmax())
            place(drawn, mosaic(pictures[telling][None], gap), LEFT_PX, top, scale)
            middle = top + side * scale / 2
            write(LEFT_PX - 20, middle - (12 if entry.given else 0), f"latent {entry.latent}", ha="right", fontsize=8.5)
            if entry.given:
                node = f"node {short(entry.given, LONGEST_NAME)}"
                write(LEFT_PX - 20, middle + 14, node, ha="right", color=SOFT, fontsize=7.5)
            _write_name(write, entry, LEFT_PX + width_px + 24, middle)
        write(24, total[1] - 26, unnamed_words(found), color=SOFT, fontsize=8)
        return png(drawn)


def _write_name(write: Callable[..., None], entry: LatentName, left_px: float, middle_px: float) -> None:
    if entry.name is None or entry.strength is None:
        write(left_px, middle_px - 12, "no name among the candidates", color=SOFT, fontsize=8.5)
    else:
        colour = POSITIVE if entry.strength > 0 else NEGATIVE
        write(left_px, middle_px - 12, short(entry.name, LONGEST_NAME), color=INK, fontsize=9.5, fontweight="bold")
        write(left_px + 420, middle_px - 12, _strength(entry), color=colour, fontsize=9.5, fontweight="bold")
    said = f"said: {short('; '.join(entry.proposed), 44)}" if entry.proposed else ""
    write(left_px, middle_px + 14, said or f"next best: {_runner_up(entry)}", color=SOFT, fontsize=7.5)


def _strength(entry: LatentName) -> str:
    if entry.strength is None or entry.standard_error is None:
        return ""
    return f"{signed(entry.strength)} ± {entry.standard_error:.2f}".replace("± 0.", "± .")


def _runner_up(entry: LatentName) -> str:
    if entry.runner_up is None:
        return "–"
    name, strength = entry.runner_up
    return f"{short(name, LONGEST_NAME)} {strength:.2f}".replace(" 0.", " .")
