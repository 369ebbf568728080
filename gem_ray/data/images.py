"""From the bytes of an image file to a square RGB array: header before pixels, and every refusal with a cause.

Only Pillow's JPEG, PNG and WEBP readers are ever tried, so that no other parser sees hostile bytes.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gem_ray.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP")
SMALLEST_SIDE = 8
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)


class Cause(StrEnum):
    """Why a record was skipped."""

    EMPTY = "empty"  # no bytes
    NOT_AN_IMAGE = "not_an_image"  # neither JPEG nor PNG nor WEBP
    TOO_MANY_PIXELS = "too_many_pixels"  # over max_pixels by its header, or too long a file for so many pixels
    TOO_SMALL = "too_small"  # a side under SMALLEST_SIDE, or under the crop
    CORRUPT = "corrupt"  # a known header, but the pixels cannot be decoded to the end


class BadImageError(Exception):
    """One image that cannot be used; caught where records are counted, never seen by a user.

    Args:
        cause: for the count
        detail: for the list of skipped records
    """

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(cause, detail)
        self.cause = cause
        self.detail = detail


@dataclass(frozen=True, kw_only=True)
class ImageShape:
    """What every image becomes: the centre square of side ``crop`` (0: the largest), resized to ``size``."""

    size: int
    crop: int
    max_pixels: int

    @property
    def max_file_bytes(self) -> int:
        """A longer file cannot be an honest image of ``max_pixels`` (16-bit RGB, and metadata)."""
        return 6 * self.max_pixels + (16 << 20)


def decode_image(data: bytes, shape: ImageShape) -> np.ndarray:
    """Decode, turn upright by EXIF, crop and resize.

    Grey, palette, CMYK and 16-bit images become RGB; transparency is laid over white; of an animation the first frame
    is taken.

    Returns:
        uint8 [size, size, 3]

    Raises:
        BadImageError: the bytes are no usable image
    """
    if not data:
        raise BadImageError(Cause.EMPTY, "no bytes")
    try:
        with warnings.catch_warnings():
            # Pillow's own pixel warning is replaced by the check against max_pixels.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise BadImageError(Cause.TOO_MANY_PIXELS, str(error)) from error
    except UnidentifiedImageError as error:
        raise BadImageError(Cause.NOT_AN_IMAGE, f"not {', '.join(FORMATS)}; first bytes {data[:8].hex()}") from error
    except DECODE_ERRORS as error:
        raise BadImageError(Cause.CORRUPT, f"header: {type(error).__name__}: {error}") from error
    _check_size(image.size, shape)
    try:
        return _to_square(image, shape)
    except DECODE_ERRORS as error:
        raise BadImageError(Cause.CORRUPT, f"pixels: {type(error).__name__}: {error}") from error


def fit_image(pixels: np.ndarray, shape: ImageShape) -> np.ndarray:
    """Crop and resize uint8 [H, W, 3] to [size, size, 3].

    Raises:
        BadImageError: it is too large or too small
    """
    image = Image.fromarray(pixels)
    _check_size(image.size, shape)
    return _to_square(image, shape)


def check_array(height: int, width: int, max_pixels: int, where: str) -> None:
    """Refuse an array of images by its header, before one of them is read; ``where`` names it.

    Raises:
        DataError: its images are larger than ``max_pixels``, or so small that each of them would be skipped
    """
    if height * width > max_pixels:
        raise DataError(
            f"{where} holds images of {width} x {height} pixels, over prepare.max_pixels={max_pixels}; write smaller "
            "ones, or raise it"
        )
    if min(height, width) < SMALLEST_SIDE:
        raise DataError(f"{where} holds images of {width} x {height} pixels; the shorter side needs {SMALLEST_SIDE}")


def _check_size(size: tuple[int, int], shape: ImageShape) -> None:
    width, height = size
    if width * height > shape.max_pixels:
        detail = f"{width} x {height} pixels are over the limit of {shape.max_pixels:,}"
        raise BadImageError(Cause.TOO_MANY_PIXELS, detail)
    needed = max(SMALLEST_SIDE, shape.crop)
    if min(width, height) < needed:
        raise BadImageError(Cause.TOO_SMALL, f"{width} x {height}; the shorter side needs {needed} pixels")


def _to_square(image: Image.Image, shape: ImageShape) -> np.ndarray:
    side = float(shape.crop or min(image.size))
    if image.format == "JPEG":
        # The decoder can halve an image for free; stay at twice the wanted size so that the filter has enough to do.
        full_width, factor = image.width, 2.0 * shape.size / side
        image.draft("RGB", (int(image.width * factor + 1), int(image.height * factor + 1)))
        side = side * image.width / full_width
    image = _to_rgb(ImageOps.exif_transpose(image))
    left, top = (image.width - side) / 2, (image.height - side) / 2
    left, top = max(0.0, left), max(0.0, top)
    box = (left, top, min(image.width, left + side), min(image.height, top + side))
    square = image.resize((shape.size, shape.size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
    return np.asarray(square, dtype=np.uint8)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion clips to 255 where it should scale.
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
