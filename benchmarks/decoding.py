"""Ratios of decoding: the project's decoder over the usual few lines of Pillow, JPEG files of two sizes to 64x64.

Both use Pillow, since only its parsers may see hostile bytes; ours lets the JPEG decoder halve an image where that
leaves enough pixels for the filter, and checks the header before it decodes.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from benchmarks.timing import Ratio, figures, in_turn, spend
from gem_ray.data.faces import face
from gem_ray.data.images import ImageShape, decode_image

SIDE, IMAGES, QUALITY = 64, 128, 90
SIZES = {"celeba": (178, 218, None), "photo": (500, 375, 2.0)}
"""Width, height, and the target: an image of CelebA is too small for the decoder to halve it."""


def jpegs(width: int, height: int, count: int) -> list[bytes]:
    """Drawn faces as JPEG files, with a little noise, so that they compress as photographs do."""
    files = []
    for number in range(count):
        drawn = Image.fromarray(face(7, number, 128)[0]).resize((width, height), Image.Resampling.BICUBIC)
        noise = np.random.default_rng(number).normal(0, 6, (height, width, 3))
        pixels = (np.asarray(drawn) + noise).clip(0, 255).astype(np.uint8)
        sink = io.BytesIO()
        Image.fromarray(pixels).save(sink, "JPEG", quality=QUALITY)
        files.append(sink.getvalue())
    return files


def plain_decode(data: bytes) -> np.ndarray:
    """Decode, crop the largest centre square and resize, as most loaders do."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def decoding(repeats: int) -> Iterator[Ratio]:
    """Both sizes."""
    shape = ImageShape(size=SIDE, crop=0, max_pixels=16_000_000)
    for name, (width, height, target) in SIZES.items():
        files = jpegs(width, height, IMAGES)

        def all_of(decode: Callable[[bytes], np.ndarray], pause_s: float = 0.0, files: list[bytes] = files) -> None:
            for data in files:
                decode(data)
                spend(pause_s)

        ours = lambda pause_s, all_of=all_of: all_of(lambda data: decode_image(data, shape), pause_s)  # noqa: E731
        theirs = lambda all_of=all_of: all_of(plain_decode)  # noqa: E731
        turns = in_turn(ours, theirs, repeats, IMAGES, clock=time.process_time)
        what = f"our decoder over decode, crop and resize, JPEG of {width}x{height} to {SIDE}x{SIDE}"
        yield from figures(f"decode_{name}", what, turns, IMAGES, "images/CPU s", target)
