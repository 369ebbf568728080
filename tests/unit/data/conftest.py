"""Pictures as bytes, made on the spot, and manifests that say something else."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import pytest
from PIL import Image

from gem_ray.data.manifest import MANIFEST, content_sha256
from gem_ray.storage import Storage


def smooth_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture without hard edges, uint8 [height, width, 3], left half red, right half blue, brighter downwards."""
    y, x = np.mgrid[0:height, 0:width]
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = np.where(x < width / 2, 200, 30)
    picture[..., 2] = np.where(x < width / 2, 30, 200)
    picture[..., 1] = 40 + 150 * y // max(height, 1) + seed % 8
    return picture


@pytest.fixture
def picture() -> Callable[..., np.ndarray]:
    return smooth_picture


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    """``encoded(array_or_image, format, **save options)``."""

    def encode(image: np.ndarray | Image.Image, format: str, **options: object) -> bytes:
        image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        buffer = io.BytesIO()
        image.save(buffer, format, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture
def rewrite_manifest() -> Callable[..., None]:
    """``rewrite_manifest(storage, **changes)``: the manifest there with other values, under a hash that is right."""

    def rewrite(storage: Storage, **changes: object) -> None:
        content = json.loads(storage.read_bytes(MANIFEST)) | changes
        del content["sha256"]
        content["sha256"] = content_sha256(content)
        storage.write_bytes(MANIFEST, json.dumps(content).encode())

    return rewrite


@pytest.fixture
def peak_bytes() -> Callable[[], AbstractContextManager[list[int]]]:
    """``with peak_bytes() as peak``: afterwards ``peak[0]`` is the most that the body had allocated at a time."""

    @contextmanager
    def measure() -> Iterator[list[int]]:
        peak = [0]
        tracemalloc.start()
        try:
            yield peak
        finally:
            peak[0] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()

    return measure
