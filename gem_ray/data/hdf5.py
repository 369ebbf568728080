"""Images and labels in an HDF5 file, as Shapes3D comes (``3dshapes.h5``: images [480000, 64, 64, 3], labels [.., 6]).

Its images are compressed in chunks of many rows each, so rows are taken out of whole chunks, each unpacked once.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gem_ray.data.images import check_array
from gem_ray.data.npz import MOST_DEFLATED, MOST_LABEL_BYTES
from gem_ray.errors import DataError
from gem_ray.storage import Storage

T = TypeVar("T")
IMAGES, LABELS = "images", "labels"
FEWEST_ROWS = 256
"""Rows that are read at once where a chunk is smaller."""
MOST_READ_BYTES = MOST_CHUNK_BYTES = 256 << 20
"""Pixels that are read at once, but one image at least; bytes of a chunk."""


@dataclass(frozen=True)
class Hdf5Rows:
    """The images in an HDF5 file.

    Args:
        shape: N, H, W, C
        fingerprint: of labels and size, since a checksum of the pixels would read them all
    """

    storage: Storage
    name: str
    shape: tuple[int, int, int, int]
    fingerprint: str

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images [n, H, W, C] of ascending row numbers.

        Raises:
            DataError: a damaged file
        """
        return _read(self.storage, self.name, lambda file: _rows(file[IMAGES], rows))

    def digest(self) -> str:
        """Changes where the file changes; hex."""
        return self.fingerprint


def open_hdf5(storage: Storage, name: str, max_pixels: int) -> tuple[Hdf5Rows, NDArray[np.float64] | None]:
    """The images of a file, and its labels [N, k] where it has any.

    Args:
        max_pixels: of an image, by the array's header

    Raises:
        DataError: no such file, no array ``images`` in it, images or chunks that are too large, or h5py is not
            installed
    """

    def look(file: Any) -> tuple[Hdf5Rows, NDArray[np.float64] | None]:
        where = f"{storage.uri}/{name}"
        if IMAGES not in file:
            raise DataError(f"{where} holds {', '.join(file)}; the images must be in a data set named {IMAGES}")
        images = file[IMAGES]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            raise DataError(f"{IMAGES} of {where} is {images.dtype} {list(images.shape)}; needed is uint8 [N, H, W, 3]")
        check_array(images.shape[1], images.shape[2], max_pixels, f"{IMAGES} of {where}")
        _check_chunk(images, f"{IMAGES} of {where}")
        size = min(images.id.get_storage_size(), storage.fs.size(storage.path(name)))
        if math.prod(images.shape) > size * MOST_DEFLATED:
            raise DataError(f"{IMAGES} of {where} is {list(images.shape)} in {size:,} bytes: most was never written")
        labels = _labels(file[LABELS], len(images), f"{LABELS} of {where}") if LABELS in file else None
        said = hashlib.sha256(f"{images.shape} {storage.fs.size(storage.path(name))}".encode())
        said.update(b"" if labels is None else labels.tobytes())
        return Hdf5Rows(storage, name, tuple(images.shape), said.hexdigest()), labels

    return _read(storage, name, look)


def _labels(labels: Any, num_images: int, where: str) -> NDArray[np.float64]:
    if len(labels.shape) != 2 or len(labels) != num_images:
        raise DataError(f"{where} is {list(labels.shape)}; {num_images} images need one row each")
    size = 8 * math.prod(labels.shape)
    if size > MOST_LABEL_BYTES:
        raise DataError(f"{where} takes {size:,} bytes; labels may take {MOST_LABEL_BYTES:,}: leave it out")
    _check_chunk(labels, where)
    return np.asarray(labels, np.float64)


def _check_chunk(array: Any, where: str) -> None:
    # HDF5 unpacks a chunk whole, whatever is asked of it.
    size = math.prod(array.chunks or (0,)) * array.dtype.itemsize
    if size > MOST_CHUNK_BYTES:
        raise DataError(f"{where} lies in chunks of {size:,} bytes, over {MOST_CHUNK_BYTES:,}: write smaller chunks")


def _rows(images: Any, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    chunk = images.chunks[0] if images.chunks else 1
    step = chunk * -(-FEWEST_ROWS // chunk)
    # Of large images fewer, though chunks of many rows are then unpacked more than once.
    step = max(1, min(step, MOST_READ_BYTES // math.prod(images.shape[1:])))
    found = np.empty((len(rows), *images.shape[1:]), np.uint8)
    for block in np.unique(rows // step):
        low, high = np.searchsorted(rows, [block * step, (block + 1) * step])
        found[low:high] = images[block * step : (block + 1) * step][rows[low:high] - block * step]
    return found


def _read(storage: Storage, name: str, action: Callable[[Any], T]) -> T:
    h5py = _h5py(f"{storage.uri}/{name}")

    def attempt() -> T:
        with storage.fs.open(storage.path(name), "rb") as stream:
            try:
                with h5py.File(stream, "r") as file:
                    return action(file)
            except OSError as error:
                # h5py reports a damaged file so, and storage would take it for a fault of its own.
                raise DataError(f"{storage.uri}/{name} cannot be read as HDF5: {error}; fetch it again") from error

    try:
        return storage.attempt(f"read {name}", attempt)
    except FileNotFoundError as error:
        raise DataError(f"{storage.uri}/{name} does not exist; check prepare.source") from error


def _h5py(source: str) -> ModuleType:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise DataError(f"{source} needs the package h5py: pip install 'gem-ray[datasets]'") from error
    return h5py
