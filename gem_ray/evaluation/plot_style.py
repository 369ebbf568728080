"""One look for all figures: type, palette, PNG bytes. Matplotlib's object interface only, so no global state.

Colours are those of Okabe and Ito (2008), which stay apart under the common colour deficiencies. Blue stands for
positive relations, orange-red for negative ones, everywhere.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

DPI = 192
INK, SOFT, FAINT = "#1d2733", "#66717d", "#d9dee3"
POSITIVE, NEGATIVE = "#1f6cb0", "#cf5410"
ACCENT, SECOND = "#0072b2", "#d55e00"
CYCLE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#4d4d4d", "#e69f00")
SIGNED = LinearSegmentedColormap.from_list(
    "signed", ["#8c3100", NEGATIVE, "#f3b48c", "#f7f7f5", "#9cc3e4", POSITIVE, "#0b3c6d"]
)
HEAT = LinearSegmentedColormap.from_list("heat", ["#ffffff", "#fde3b8", "#f2a154", "#c2491d", "#521405"])

STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "text.parse_math": False,  # attribute names are shown as they are, dollar signs and all
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.labelsize": 8,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
    "figure.constrained_layout.w_pad": 0.08,
    "figure.constrained_layout.h_pad": 0.08,
}


@contextmanager
def figure(width: float, height: float) -> Iterator[Figure]:
    """A figure of that size in inches, drawn in the project's style, that lays itself out."""
    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(drawn)
        yield drawn


@contextmanager
def canvas(width_px: int, height_px: int) -> Iterator[Figure]:
    """An empty figure of that many device pixels, for ``place``."""
    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(width_px / DPI, height_px / DPI))
        FigureCanvasAgg(drawn)
        yield drawn


def place(drawn: Figure, picture_HW3: NDArray[np.floating], left_px: int, top_px: int, scale: int) -> Axes:
    """Put a picture on a canvas so that each of its pixels fills exactly ``scale`` x ``scale`` device pixels."""
    height, width = picture_HW3.shape[0] * scale, picture_HW3.shape[1] * scale
    total_width, total_height = (drawn.get_size_inches() * DPI).round()
    bottom = total_height - top_px - height
    axes = drawn.add_axes((left_px / total_width, bottom / total_height, width / total_width, height / total_height))
    axes.imshow(picture_HW3, interpolation="nearest", aspect="auto")
    bare(axes)
    return axes


def png(drawn: Figure) -> bytes:
    """The figure as a PNG at twice the usual resolution."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def bare(axes: Axes) -> None:
    """No spines, no ticks."""
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def readable_on(colour: tuple[float, float, float, float]) -> str:
    """Ink or white, whichever is easier to read on the colour."""
    red, green, blue = colour[:3]
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else "white"


def mosaic(images_RCHWC: NDArray[np.floating], gap: int) -> NDArray[np.float64]:
    """Images [R, C, H, W, 3] in [0, 1] as one picture with white gaps of that many pixels between them."""
    rows, columns, height, width, _ = images_RCHWC.shape
    picture = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, 3))
    for row in range(rows):
        for column in range(columns):
            top, left = row * (height + gap), column * (width + gap)
            picture[top : top + height, left : left + width] = images_RCHWC[row, column]
    return picture
