"""Animated GIFs that run forth and back for ever, of one palette, and no larger than a given size."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Colour = tuple[int, int, int]
COLOURS = (255, 128, 64)
"""Palettes to try, the richest first; one colour is left to what does not change between frames."""
PALETTE_PIXELS = 300_000
SHADE = 4
CELL = 8
WHITE = (255, 255, 255)


class Film(NamedTuple):
    """A picture that moves, as GIF, and one that does not, as PNG, for those who would rather have it still."""

    gif: bytes
    still: bytes


def there_and_back(frames_THW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frames and, between its two ends, the same way back: [2T - 2, H, W, 3], so that a loop has no jump."""
    return np.concatenate([frames_THW3, frames_THW3[-2:0:-1]])


def eased(num: int) -> NDArray[np.float64]:
    """``num`` positions from 0 to 1, closer together at both ends: a movement that turns rather than bounces."""
    return (1 - np.cos(np.pi * np.arange(num) / (num - 1))) / 2


def looping_gif(
    frames_THW3: NDArray[np.uint8], frame_ms: int, most_bytes: int, exact: Sequence[Colour] = (WHITE,)
) -> bytes:
    """The frames there and back, for ever.

    Over ``most_bytes`` it is given fewer colours, then every second frame for twice the time, until it fits or only the
    two ends and one frame between them are left.

    Args:
        frames_THW3: at least two
        exact: colours that are kept as they are, whatever the pictures need
    """
    while True:
        for colours in COLOURS:
            content = _encode(there_and_back(frames_THW3), frame_ms, colours, exact)
            if len(content) <= most_bytes:
                return content
        if len(frames_THW3) <= 3:
            return content
        # The ends are the point of a traversal: of an even number of frames the last two are both kept.
        kept = np.unique(np.r_[0 : len(frames_THW3) : 2, len(frames_THW3) - 1])
        frames_THW3, frame_ms = frames_THW3[kept], 2 * frame_ms


def still_png(frame_HW3: NDArray[np.uint8]) -> bytes:
    """One frame."""
    buffer = io.BytesIO()
    Image.fromarray(frame_HW3).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _encode(frames_THW3: NDArray[np.uint8], frame_ms: int, colours: int, exact: Sequence[Colour]) -> bytes:
    palette = _palette(frames_THW3, colours, exact)
    # Without dithering: its noise would flicker, and would compress badly.
    pictures = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames_THW3]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=frame_ms, loop=0, disposal=1)
    return buffer.getvalue()


def _palette(frames_THW3: NDArray[np.uint8], colours: int, exact: Sequence[Colour]) -> Image.Image:
    """One palette of all frames, so that nothing that stands still changes colour."""
    pixels = frames_THW3.reshape(-1, 3)
    some = pixels[:: max(1, len(pixels) // PALETTE_PIXELS)]
    # Every shade once: by their numbers, white paper would take the colours that pictures need.
    shades = some[np.unique(some // SHADE, axis=0, return_index=True)[1]]
    counted = Image.fromarray(shades[None]).quantize(colours - len(exact), method=Image.Quantize.MEDIANCUT, kmeans=1)
    found = np.array(counted.getpalette(), dtype=np.int64).reshape(-1, 3)
    # Pillow looks colours up in cells of some levels: a neighbour in the same cell could take an exact colour's place.
    near = np.abs(found[:, None] - np.array(exact)[None]).max(axis=-1).min(axis=1) < CELL
    palette = Image.new("P", (1, 1))
    palette.putpalette([*np.array(exact).flatten().tolist(), *found[~near].flatten().tolist()])
    return palette
