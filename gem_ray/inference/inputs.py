"""Images as people have them, to the tensors a model takes, and back.

What is no array of the model's size already is cropped and resized as ``jobs.prepare`` does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gem_ray.config import StorageConfig
from gem_ray.data.images import BadImageError, ImageShape, decode_image, fit_image
from gem_ray.errors import DataError
from gem_ray.storage import Storage

OneImage = Image.Image | NDArray[np.uint8] | Tensor | str | Path
Images = OneImage | Sequence[OneImage]


def to_batch(images: Images, shape: ImageShape, storage: StorageConfig) -> tuple[Tensor, bool]:
    """(float [B, 3, size, size] in [0, 1], whether there was one image and no batch).

    Args:
        images: a PIL image, uint8 array [H, W, 3] or [B, H, W, 3], tensor [3, H, W] or [B, 3, H, W] (uint8, or float in
            [0, 1]), path or URI of an image file; or a sequence of them

    Raises:
        DataError: something else, or an image that cannot be used
    """
    if isinstance(images, list | tuple):
        if not images:
            raise DataError("the list of images is empty")
        parts = [to_batch(image, shape, storage)[0] for image in images]
        return torch.cat(parts), False
    if isinstance(images, Tensor):
        return _of_tensor(images, shape)
    if isinstance(images, np.ndarray):
        return _of_array(images, shape)
    if isinstance(images, Image.Image):
        return _of_array(np.asarray(images.convert("RGB")), shape)
    if isinstance(images, str | Path):
        return _of_array(read_image(str(images), shape, storage), shape)
    raise DataError(
        f"an image is a PIL image, a uint8 array [H, W, 3], a tensor [3, H, W], a path or a URI, not {type(images)}"
    )


def read_image(uri: str, shape: ImageShape, storage: StorageConfig) -> NDArray[np.uint8]:
    """uint8 [size, size, 3] of an image file (JPEG, PNG or WEBP) at a path or URI.

    Raises:
        DataError: no such file, or no usable image
        StorageError: the place cannot be reached
    """
    folder, _, name = uri.rpartition("/")
    try:
        data = Storage(folder or ("/" if uri.startswith("/") else "."), storage).read_bytes(name)
        return decode_image(data, shape)
    except FileNotFoundError as error:
        raise DataError(f"there is no image at {uri}") from error
    except BadImageError as error:
        raise DataError(f"{uri} cannot be used: {error.cause.value}, {error.detail}") from error


def to_pixels(images_BCHW: Tensor) -> NDArray[np.uint8]:
    """[..., 3, H, W] in [0, 1] to uint8 [..., H, W, 3]."""
    pixels = (images_BCHW.detach().clamp(0, 1) * 255.0).round().to(torch.uint8)
    return pixels.movedim(-3, -1).contiguous().cpu().numpy()


def _of_tensor(images: Tensor, shape: ImageShape) -> tuple[Tensor, bool]:
    if images.ndim not in (3, 4) or images.shape[-3] != 3:
        raise DataError(f"a tensor of images is [3, H, W] or [B, 3, H, W], not {list(images.shape)}")
    if images.dtype != torch.uint8:
        if not images.is_floating_point() or not bool(((images >= 0) & (images <= 1)).all()):
            raise DataError(
                f"a tensor of images is uint8, or float with values in [0, 1]; this is {images.dtype} from "
                f"{images.min():g} to {images.max():g}: divide 0..255 by 255"
            )
        if images.shape[-2:] == (shape.size, shape.size):
            return (images[None] if images.ndim == 3 else images).float(), images.ndim == 3
    pixels = images if images.dtype == torch.uint8 else (images * 255.0).round().to(torch.uint8)
    return _of_array(pixels.movedim(-3, -1).cpu().numpy(), shape)


def _of_array(images: NDArray[np.uint8], shape: ImageShape) -> tuple[Tensor, bool]:
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[-1] != 3:
        raise DataError(
            f"an array of images is uint8 [H, W, 3] or [B, H, W, 3], not {images.dtype} {list(images.shape)}; "
            "a float tensor [3, H, W] in [0, 1] will do too"
        )
    single = images.ndim == 3
    batch = images[None] if single else images
    if batch.shape[1:3] != (shape.size, shape.size):
        try:
            batch = np.stack([fit_image(image, shape) for image in batch])
        except BadImageError as error:
            raise DataError(f"an image cannot be used: {error.cause.value}, {error.detail}") from error
    return torch.from_numpy(batch.copy()).movedim(-1, -3).float().div(255.0), single
