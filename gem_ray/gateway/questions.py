"""What a caller sends: images as bytes (never as a URL) and names of attributes, checked before anything is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import UploadFile
from starlette.requests import Request

from gem_ray.config import GatewayConfig
from gem_ray.data.images import FORMATS, BadImageError, Cause, ImageShape, decode_image
from gem_ray.errors import ConfigError
from gem_ray.gateway.guard import Refusal
from gem_ray.scoring.asking.prompts import validate_attributes

MULTIPART = "multipart/form-data"
RAW = frozenset({"image/jpeg", "image/png", "image/webp", "application/octet-stream"})
DECODERS = 2  # images that are decoded at a time: one of 16 million pixels takes 50 MB
CAUSES = {
    Cause.EMPTY: "it has no bytes",
    Cause.NOT_AN_IMAGE: f"it is neither {', '.join(FORMATS[:-1])} nor {FORMATS[-1]}",
    Cause.TOO_SMALL: "its shorter side is too short",
    Cause.CORRUPT: "it cannot be decoded to the end",
}


@dataclass(frozen=True)
class Sent:
    """What came with a request.

    Args:
        files: bytes of image files
        attributes: names as they were written; None where none were named
    """

    files: tuple[bytes, ...]
    attributes: tuple[str, ...] | None


async def read_sent(request: Request, config: GatewayConfig) -> Sent:
    """The images and attributes of a request: multipart, or one image as the body and attributes in the query.

    Raises:
        Refusal: 415 for another kind of content, 422 for other fields or too many of them
    """
    kind = media_type(request)
    if kind in RAW:
        files, names = [await request.body()], request.query_params.getlist("attributes")
    elif kind == MULTIPART:
        files, names = await _read_form(request)
    else:
        raise Refusal(
            415,
            "unsupported_media_type",
            f"send {MULTIPART} with the fields image and attributes, or one image as {', '.join(sorted(RAW))}",
        )
    if len(files) > config.max_images:
        raise Refusal(
            422, "too_many_images", f"{len(files)} images; at most {config.max_images} are taken in one request"
        )
    return Sent(tuple(files), tuple(names) or None)


def media_type(request: Request) -> str:
    """The kind of content, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _read_form(request: Request) -> tuple[list[bytes], list[str]]:
    files, names = [], []
    async with request.form() as form:
        for field, value in form.multi_items():
            if field == "image" and isinstance(value, UploadFile):
                files.append(await value.read())
            elif field == "attributes" and isinstance(value, str):
                names.append(value)
            else:
                raise Refusal(
                    422, "unknown_field", f"the field {field[:64]!r} is not known: image takes files, attributes text"
                )
    return files, names


def checked_attributes(names: Sequence[str], most: int) -> tuple[str, ...]:
    """The names as they are asked about.

    Raises:
        Refusal: 422, with the name
    """
    if len(names) > most:
        raise Refusal(422, "too_many_attributes", f"{len(names)} attributes; at most {most} are taken in one request")
    try:
        return validate_attributes(names)
    except ConfigError as error:
        raise Refusal(422, "bad_attribute", str(error)) from error


class Decoder:
    """Decodes a bounded number of images at a time, outside the event loop.

    Args:
        size: side of the square images in pixels
        max_pixels: of an image by its header
    """

    def __init__(self, size: int, max_pixels: int) -> None:
        self._shape = ImageShape(size=size, crop=0, max_pixels=max_pixels)
        self._places = asyncio.Semaphore(DECODERS)

    async def decode(self, files: Sequence[bytes]) -> NDArray[np.uint8]:
        """The images, uint8 [N, size, size, 3].

        Raises:
            Refusal: 413 for too many pixels, 422 for what is no image; which one and why, and nothing of its content
        """
        return np.stack([await self._one(number, data) for number, data in enumerate(files)])

    async def _one(self, number: int, data: bytes) -> NDArray[np.uint8]:
        async with self._places:
            try:
                return await asyncio.to_thread(decode_image, data, self._shape)
            except BadImageError as error:
                if error.cause is Cause.TOO_MANY_PIXELS:
                    raise Refusal(
                        413,
                        "image_too_large",
                        f"image {number} has more than {self._shape.max_pixels} pixels; send a smaller one",
                    ) from None
                raise Refusal(422, "bad_image", f"image {number} is of no use: {CAUSES[error.cause]}") from None
