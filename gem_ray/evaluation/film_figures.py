"""Films: every node of one image going from low to high and back, with the graph, without it, and what that changes.

Shape suffixes: K nodes, T frames, H height, W width, 3 colours.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_hex, to_rgb
from numpy.typing import NDArray
from PIL import Image

from gem_ray.evaluation.animation import WHITE, Colour, Film, looping_gif, still_png
from gem_ray.evaluation.image_figures import short
from gem_ray.evaluation.plot_style import ACCENT, FAINT, HEAT, INK, SOFT, canvas, png

FRAME_MS = 70
LARGEST_TILE = 144  # device pixels: larger images are made smaller, smaller ones larger by whole numbers
LEAST_SCALE = 24 / 255  # where hardly anything changes, noise must not look like much
LEFT, TOP, GAP, TRACK = 158, 40, 6, 22
ROWS = ("through\nthe graph", "this node\nalone", "difference")


def _rgb(colour: str) -> Colour:
    red, green, blue = (round(255 * part) for part in to_rgb(colour))
    return red, green, blue


# The pale end of the heat among them: it has few of a film's shades, and would be given one colour.
EXACT = (WHITE, _rgb(FAINT), _rgb(ACCENT), *(_rgb(to_hex(HEAT(step))) for step in np.linspace(0.05, 1, 20)))


def propagation_film(
    through_KTHW3: NDArray[np.floating],
    alone_KTHW3: NDArray[np.floating],
    steps_T: NDArray[np.floating],
    names: Sequence[str],
    most_bytes: int,
) -> Film:
    """One column for each node; its mark below the name says where the node stands between low and high.

    Args:
        through_KTHW3, alone_KTHW3: images in [0, 1], at least two frames
        steps_T: where the node stands in each frame, from 0 to 1
    """
    through, alone = tiles(through_KTHW3), tiles(alone_KTHW3)
    change = np.abs(through - alone).mean(axis=-1)
    scale = max(LEAST_SCALE, float(change.max()))
    heat = np.asarray(HEAT(change / scale))[..., :3]
    num_nodes, num_frames, side = through.shape[:3]
    top = TOP + TRACK
    board = _board(num_nodes, side, names, scale)
    frames = np.repeat(board[None], num_frames, axis=0)
    for column in range(num_nodes):
        left = LEFT + column * (side + GAP)
        for frame, step in enumerate(steps_T):
            _put_mark(frames[frame], left, side, float(step))
        for row, panel in enumerate((through, alone, heat)):
            at = top + row * (side + GAP)
            frames[:, at : at + side, left : left + side] = np.round(255 * panel[column]).astype(np.uint8)
    return Film(looping_gif(frames, FRAME_MS, most_bytes, EXACT), still_png(frames[-1]))


def tiles(images_KTHW3: NDArray[np.floating]) -> NDArray[np.float64]:
    """Images of up to ``LARGEST_TILE`` a side: pixels repeated, or averaged, by a whole number."""
    side = images_KTHW3.shape[2]
    if side > LARGEST_TILE:
        by = -(-side // LARGEST_TILE)
        kept = side // by * by
        blocks = images_KTHW3[:, :, :kept, :kept].reshape(*images_KTHW3.shape[:2], kept // by, by, kept // by, by, 3)
        return blocks.mean(axis=(3, 5))
    by = LARGEST_TILE // side
    return np.repeat(np.repeat(images_KTHW3, by, axis=2), by, axis=3).astype(np.float64)


def _board(num_nodes: int, side: int, names: Sequence[str], scale: float) -> NDArray[np.uint8]:
    """What does not move: names, rows, tracks and the scale of the differences."""
    width = LEFT + num_nodes * (side + GAP) + 8
    height = TOP + TRACK + 3 * (side + GAP) + 26
    with canvas(width, height) as drawn:
        for column, name in enumerate(names):
            middle = LEFT + column * (side + GAP) + side / 2
            limit = max(6, side // 10)
            drawn.text(
                middle / width, 1 - TOP / 2 / height, short(name, limit), ha="center", va="center", weight="bold"
            )
        for row, label in enumerate(ROWS):
            middle = TOP + TRACK + row * (side + GAP) + side / 2
            drawn.text((LEFT - 12) / width, 1 - middle / height, label, ha="right", va="center", color=INK)
        words = f"difference: white none, darkest {255 * scale:.0f} of 255 grey levels"
        drawn.text(LEFT / width, 10 / height, words, ha="left", va="center", color=SOFT, fontsize=7.5)
        board = np.array(Image.open(io.BytesIO(png(drawn))).convert("RGB"))
    for column in range(num_nodes):
        left = LEFT + column * (side + GAP)
        middle = TOP + TRACK // 2 - 4
        board[middle - 1 : middle + 2, left + 8 : left + side - 8] = EXACT[1]
    return board


def _put_mark(frame_HW3: NDArray[np.uint8], left: int, side: int, step: float) -> None:
    at = left + 8 + round(step * (side - 16 - 12))
    middle = TOP + TRACK // 2 - 4
    frame_HW3[middle - 5 : middle + 6, at : at + 12] = EXACT[2]
