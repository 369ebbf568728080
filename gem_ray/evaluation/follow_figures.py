"""What follows a node: before, with it moved alone, with what follows, and how far each other node went."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from gem_ray.evaluation.followers import Follow
from gem_ray.evaluation.graph_figures import signed
from gem_ray.evaluation.image_figures import short
from gem_ray.evaluation.plot_style import FAINT, HEAT, INK, NEGATIVE, POSITIVE, SOFT, bare, figure, png

LEAST_SCALE = 24 / 255
MOST_BARS = 10


def follows_figure(examples: Sequence[Follow], attributes: Sequence[str]) -> bytes:
    """One row for each example; bars are the nodes that propagation moved, the related one in full colour."""
    bars = min(MOST_BARS, len(attributes) - 1)
    height = max(1.6, 0.19 * bars + 0.5)
    heats = [(example.through - example.alone).abs().mean(dim=0).numpy() for example in examples]
    scale = max(LEAST_SCALE, max(float(heat.max()) for heat in heats))
    with figure(10.2, height * len(examples) + 0.55) as drawn:
        grid = drawn.subplots(len(examples), 5, squeeze=False, width_ratios=[1, 1, 1, 1, 2.1])
        reach = 1.15 * max(float(np.nanmax(np.abs(example.shifts))) for example in examples)
        for row, (example, heat) in enumerate(zip(examples, heats)):
            pictures = (example.before, example.alone, example.through)
            for axes, picture in zip(grid[row], pictures):
                axes.imshow(picture.movedim(0, -1).clamp(0, 1).numpy(), interpolation="nearest")
            grid[row, 3].imshow(heat, cmap=HEAT, vmin=0, vmax=scale, interpolation="nearest")
            for axes in grid[row, :4]:
                bare(axes)
            source, target = short(example.source, 14), short(example.target, 14)
            way = "up" if example.strength > 0 else "down"
            words = f"{source} up → {target} {way} (DisGraph {signed(example.strength)})"
            grid[row, 4].set_title(words, pad=4)
            _bars(grid[row, 4], example, attributes, bars, max(reach, 0.1))
        for axes, title in zip(grid[0], ("node low", "high, alone", "high, others follow", "difference")):
            axes.set_title(title, loc="center")
        return png(drawn)


def _bars(axes: Axes, example: Follow, attributes: Sequence[str], most: int, reach: float) -> None:
    """The nodes moved most, in the order of the graph, and always the related one."""
    sizes = np.nan_to_num(np.abs(example.shifts), nan=-1.0)
    sizes[list(attributes).index(example.target)] = np.inf
    shown = np.sort(np.argsort(-sizes, kind="stable")[:most])
    values = example.shifts[shown]
    related = [attributes[node] == example.target for node in shown]
    axes.axvline(0, color=FAINT, linewidth=0.8)
    for place, (value, strong) in enumerate(zip(values, related)):
        colour = POSITIVE if value > 0 else NEGATIVE
        axes.barh(place, value, height=0.62, color=colour, alpha=1.0 if strong else 0.35)
        axes.text(
            value + (0.02 if value >= 0 else -0.02) * reach, place, f"{value:+.2f}".replace("-", "−"),
            ha="left" if value >= 0 else "right", va="center", fontsize=7, color=INK if strong else SOFT,
        )  # fmt: skip
    axes.set(xlim=(-1.25 * reach, 1.25 * reach), ylim=(len(shown) - 0.4, -0.6), xticks=[])
    axes.set_yticks(range(len(shown)), [short(attributes[node], 14) for node in shown])
    axes.tick_params(length=0, labelcolor=INK)
    for label, strong in zip(axes.get_yticklabels(), related):
        label.set_fontweight("bold" if strong else "normal")
    for spine in axes.spines.values():
        spine.set_visible(False)
