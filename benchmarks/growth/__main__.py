"""``python -m benchmarks.growth``: how cost grows with images, attributes, workers and image side, in plots.

The exponent of each curve is printed beside what would be a surprise, and the exit status tells of one. The options cut
sizes; with the defaults it takes under ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import load, machine

if TYPE_CHECKING:
    from benchmarks.growth.fits import Curve

PARTS = {
    "images": "benchmarks.growth.images:by_images",
    "attributes": "benchmarks.growth.costs:by_attributes",
    "workers": "benchmarks.growth.workers:by_workers",
    "sides": "benchmarks.growth.costs:by_side",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, plot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description="How cost grows.")
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--attributes", type=int, nargs="+", default=[6, 12, 24, 48, 96, 128])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="more than cores are simulated")
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), metavar="PART", help=f"some of: {', '.join(PARTS)}")
    parser.add_argument("--output", type=Path, default=Path("build/growth"), help="folder for plots and growth.jsonl")
    chosen = parser.parse_args(arguments)
    chosen.output.mkdir(parents=True, exist_ok=True)
    lines, surprises = [json.dumps(machine())], []
    for part in chosen.only or PARTS:
        started = time.monotonic()
        module, _, function = PARTS[part].partition(":")
        measured: Callable[[Sequence[int]], list[Curve]] = getattr(import_module(module), function)
        curves = measured(sorted(getattr(chosen, part)))
        for curve in curves:
            print(f"{part}: {curve.line()}", flush=True)
            lines.append(json.dumps({"part": part, **asdict(curve), "exponent": curve.exponent, "load": load()}))
            surprises += [f"{part}: {curve.name}"] if curve.surprising else []
        plot(part, curves, chosen.output / f"{part}.png")
        print(
            f"{part} took {time.monotonic() - started:.0f} s; {chosen.output / part}.png", file=sys.stderr, flush=True
        )
    (chosen.output / "growth.jsonl").write_text("\n".join(lines) + "\n")
    if surprises:
        sys.exit(f"grows faster than expected: {'; '.join(surprises)}")


def plot(title: str, curves: Sequence[Curve], path: Path) -> None:
    """One panel a curve, both axes logarithmic, with the fitted power law."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(curves), 3.2), layout="constrained")
    figure.suptitle(f"cost by {title}")
    for axes, curve in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
        axes.loglog(curve.sizes, curve.costs, "o-")
        axes.set_xticks(curve.sizes, [f"{size:,g}" for size in curve.sizes])
        axes.minorticks_off()
        last = curve.costs[-1]
        fit = [last * (size / curve.sizes[-1]) ** curve.exponent for size in curve.sizes]
        axes.loglog(curve.sizes, fit, ":", color="grey", label=f"exponent {curve.exponent:.2f}")
        axes.set(title=curve.name, xlabel=curve.x, ylabel=curve.y)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
