"""Draw one parametric face with Pillow: six attributes in [0, 1], each plainly visible and graded.

All coordinates are in a frame of 64 x 64 units, whatever the size of the image. Drawing is supersampled, so that a
small change of an attribute is a small change of the pixels. Attributes keep out of each other's way: baldness bares
the crown and leaves hair at the sides, sex shows in jaw, brows, neck and the length of the hair, a beard leaves the
lips and the cheekbones free, and a fringe starts at the hairline, below the bald crown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

SUPERSAMPLING = 3
SKIN_TONES: tuple[Colour, ...] = ((250, 221, 199), (238, 198, 164), (214, 164, 124), (156, 106, 76))
DARK_HAIR: Colour = (52, 35, 27)
BLOND_HAIR: Colour = (246, 205, 86)
LIPSTICK: Colour = (206, 18, 66)
EYE_SHADOW: Colour = (122, 62, 176)
BLUSH: Colour = (240, 92, 110)
BEARD_SHADE: Colour = (40, 27, 22)
CENTRE, FACE_Y, HAIRLINE = 32.0, 33.5, 20.5
ARC = np.linspace(0.0, math.pi, 17)
ARC_COS, ARC_SIN = np.cos(ARC), np.sin(ARC)


@dataclass(frozen=True)
class Nuisance:
    """What varies from face to face and means nothing.

    Args:
        skin: position in ``SKIN_TONES``, in [0, 1]
        background: RGB of the backdrop
        clothes: RGB of the shoulders
        shift: x and y in units of the 64 x 64 frame
        noise: standard deviation of the pixel noise, in grey levels
        seed: of the pixel noise
    """

    skin: float
    background: Colour
    clothes: Colour
    shift: tuple[float, float]
    noise: float
    seed: int


def sample_nuisance(rng: np.random.Generator) -> Nuisance:
    """Draw the nuisance of one face."""
    value = rng.random(12)
    grey, dark = between(140, 205, value[1]), between(45, 110, value[2])
    return Nuisance(
        skin=float(value[0]),
        background=_tinted(grey, 35.0, value[3:6]),
        clothes=_tinted(dark, 40.0, value[6:9]),
        shift=(float(4 * value[9] - 2), float(4 * value[10] - 2)),
        noise=float(2 + 4 * value[11]),
        seed=int(rng.integers(2**32)),
    )


def _tinted(grey: float, spread: float, tint: np.ndarray) -> Colour:
    red, green, blue = (int(grey + spread * (2 * value - 1)) for value in tint)
    return red, green, blue


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour ``share`` of the way from the first to the second."""
    keep = 1.0 - share
    return (
        int(first[0] * keep + second[0] * share + 0.5),
        int(first[1] * keep + second[1] * share + 0.5),
        int(first[2] * keep + second[2] * share + 0.5),
    )


def between(low: float, high: float, share: float) -> float:
    """The number ``share`` of the way from low to high."""
    return low + (high - low) * share


def skin_tone(position: float) -> Colour:
    """The tone at a position in [0, 1] of ``SKIN_TONES``."""
    place = position * (len(SKIN_TONES) - 1)
    index = min(int(place), len(SKIN_TONES) - 2)
    return mix(SKIN_TONES[index], SKIN_TONES[index + 1], place - index)


class Canvas:
    """Pillow's drawing calls in units of the 64 x 64 frame, with supersampling and a shift."""

    def __init__(self, size: int, background: Colour, shift: tuple[float, float]) -> None:
        self.side = size * SUPERSAMPLING
        self.scale = self.side / 64.0
        self.shift = shift
        self.offset = np.array(shift)[:, None]
        self.image = Image.new("RGB", (self.side, self.side), background)
        self.pen = ImageDraw.Draw(self.image)

    def ellipse(self, x: float, y: float, width: float, height: float, fill: Colour) -> None:
        """Ellipse about (x, y) with these half axes."""
        x, y, scale = x + self.shift[0], y + self.shift[1], self.scale
        box = ((x - width) * scale, (y - height) * scale, (x + width) * scale, (y + height) * scale)
        self.pen.ellipse(box, fill=fill)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        """Rectangle."""
        (x, y), scale = self.shift, self.scale
        self.pen.rectangle(((left + x) * scale, (top + y) * scale, (right + x) * scale, (bottom + y) * scale), fill)

    def shape(self, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, fill: Colour) -> None:
        """Closed polygon through the points."""
        points = (np.array([x, y]) + self.offset) * self.scale
        self.pen.polygon(points.T.ravel().tolist(), fill=fill)

    def dome(self, top: float, base: float, half_width: float, fill: Colour, exponent: float = 1.0) -> None:
        """Half an ellipse between two heights (base below or above top); a smaller exponent squares it."""
        y = base + (top - base) * ARC_SIN**exponent
        x = CENTRE + half_width * np.sign(ARC_COS) * np.abs(ARC_COS) ** exponent
        self.shape(x, y, fill)


def draw_face(attributes: np.ndarray, nuisance: Nuisance, size: int) -> np.ndarray:
    """Draw a face.

    Args:
        attributes: [6] in the order bangs, bald, male, beard, blond, makeup, each in [0, 1]
        nuisance: everything else
        size: side of the image in pixels

    Returns:
        uint8 [size, size, 3], RGB
    """
    bangs, bald, male, beard, blond, makeup = (float(value) for value in attributes)
    canvas = Canvas(size, nuisance.background, nuisance.shift)
    skin, hair = skin_tone(nuisance.skin), mix(DARK_HAIR, BLOND_HAIR, blond)
    _draw_body(canvas, male, skin, hair, nuisance.clothes)
    _draw_head(canvas, bald, male, skin, hair)
    if beard > 0:
        _draw_beard(canvas, beard, male, skin, mix(hair, BEARD_SHADE, 0.45))
    if bangs > 0:
        _draw_bangs(canvas, bangs, hair)
    _draw_features(canvas, male, makeup, skin, mix(hair, DARK_HAIR, 0.45))
    pixels = np.asarray(canvas.image.reduce(SUPERSAMPLING), dtype=np.float32)
    noise = np.random.Generator(np.random.SFC64(nuisance.seed)).standard_normal(pixels.shape, dtype=np.float32)
    return np.clip(pixels + nuisance.noise * noise, 0, 255).astype(np.uint8)


def _draw_body(canvas: Canvas, male: float, skin: Colour, hair: Colour, clothes: Colour) -> None:
    shoulders = between(19, 31, male)
    canvas.dome(between(57, 54, male), 74, shoulders, clothes, exponent=0.7)
    length = between(63, 34, male)
    spread = between(18.5, 16, male)
    back = mix(hair, (0, 0, 0), 0.22)
    canvas.box(CENTRE - spread, 28, CENTRE + spread, length, back)
    canvas.ellipse(CENTRE, length, spread, 2.5, back)
    neck, shadow = between(4.5, 10.5, male), mix(skin, (70, 30, 20), 0.3)
    canvas.box(CENTRE - neck, 44, CENTRE + neck, 60, shadow)
    canvas.ellipse(CENTRE, 60, neck, 2.5, shadow)


def _draw_head(canvas: Canvas, bald: float, male: float, skin: Colour, hair: Colour) -> None:
    # The cap of hair sinks behind the head while the bare crown rises out of it.
    cap, side, lowest = between(6.5, 13.5, bald), between(18.5, 17.3, bald), between(41, 36.5, bald)
    canvas.dome(cap, 34, side, hair, exponent=0.8)
    canvas.dome(lowest, 33.9, side, hair, exponent=0.5)
    upper = 15.5
    ear = between(1.2, 2.6, male)
    canvas.ellipse(CENTRE - upper, 38, ear, 3.6, mix(skin, (120, 50, 30), 0.18))
    canvas.ellipse(CENTRE + upper, 38, ear, 3.6, mix(skin, (120, 50, 30), 0.18))
    crown = between(HAIRLINE, 9.5, bald)
    canvas.dome(crown, FACE_Y + 1, upper, skin, exponent=0.85)
    canvas.dome(between(56, 54, male), FACE_Y, upper, skin, exponent=between(1.12, 0.55, male))
    if bald > 0:
        canvas.ellipse(CENTRE - 4, crown + 5, 4.5 * bald, 1.8 * bald, mix(skin, (255, 255, 255), 0.45 * bald))


def _draw_beard(canvas: Canvas, beard: float, male: float, skin: Colour, colour: Colour) -> None:
    shade = mix(skin, colour, between(0.1, 0.95, beard))
    chin, jaw = between(56, 54, male), between(1.12, 0.55, male)
    # The jaw's own outline, cut off at a height that rises from the chin to the cheeks.
    height = between(chin - 1.0, 43.5, beard)
    depth = (height - FACE_Y) / (chin - FACE_Y)
    start = math.asin(min(1.0, depth ** (1 / jaw)))
    angle = np.linspace(start, math.pi - start, 17)
    x = CENTRE + 15.5 * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** jaw
    canvas.shape(x, FACE_Y + (chin + beard * 2.5 - FACE_Y) * np.sin(angle) ** jaw, shade)
    moustache = between(1.0, 7.0, beard)
    canvas.dome(45.8 - 1.8 * beard, 46.6, moustache, shade)


def _draw_features(canvas: Canvas, male: float, makeup: float, skin: Colour, brow: Colour) -> None:
    thickness = between(0.5, 1.7, male)
    lowest = between(31.0, 32.8, male)
    for side in (-1.0, 1.0):
        eye = CENTRE + side * 7
        if makeup > 0:
            canvas.ellipse(CENTRE + side * 10, 43.2, 3.6, 2.6, mix(skin, BLUSH, 0.85 * makeup))
            canvas.ellipse(eye, 35.4, 4.6, between(1.5, 3.2, makeup), mix(skin, EYE_SHADOW, 0.85 * makeup))
        canvas.ellipse(eye, 37, 3.9, 2.3, mix(skin, (30, 15, 10), 0.75))
        canvas.ellipse(eye, 37.3, 3.5, 1.9, (248, 246, 242))
        canvas.ellipse(eye, 37.2, 1.7, 1.8, (58, 66, 84))
        inner, outer, arch = eye - side * 4.2, eye + side * 5.0, lowest - 1.2
        canvas.shape(
            (inner, eye, outer, eye, inner),
            (lowest - thickness, arch - thickness, lowest - 0.2, arch + thickness, lowest + thickness),
            brow,
        )
    canvas.shape((CENTRE, CENTRE + 2.6, CENTRE - 2.0), (37.5, 44, 44), mix(skin, (110, 50, 30), 0.22))
    lips = mix(mix(skin, (160, 70, 70), 0.5), LIPSTICK, makeup)
    width, height = between(5.0, 5.8, makeup), between(1.5, 2.8, makeup)
    canvas.dome(48.2 + height, 48.2, width, lips)
    bow = 48.2 - 0.7 * height
    around = (CENTRE - width, CENTRE - 1.6, CENTRE, CENTRE + 1.6, CENTRE + width, CENTRE)
    canvas.shape(around, (47.9, bow, bow + 0.3, bow, 47.9, 48.8), lips)
    mouth = mix(lips, (40, 0, 0), 0.5)
    canvas.shape((CENTRE - width, CENTRE, CENTRE + width, CENTRE), (47.7, 48.5, 47.7, 49.2), mouth)


def _draw_bangs(canvas: Canvas, bangs: float, hair: Colour) -> None:
    # A rounded fringe from the hairline down; over a bald crown it is a tuft, and leaves the crown bare.
    edge, half = between(HAIRLINE, 30.0, bangs), 15.4
    x = np.linspace(CENTRE + half, CENTRE - half, 15)
    bottom = edge + np.where(np.arange(15) % 2 == 1, between(0.0, 2.0, bangs), 0.0)
    top_x, top_y = CENTRE - half * ARC_COS, edge - (edge - HAIRLINE + 1.5) * ARC_SIN**0.5
    for lower, colour in ((min(1.0, 4.0 * bangs), mix(hair, (0, 0, 0), 0.45)), (0.0, hair)):
        canvas.shape(np.concatenate([top_x, x]), np.concatenate([top_y, bottom + lower]), colour)
