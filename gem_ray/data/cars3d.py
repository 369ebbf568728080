"""Cars3D in its own layout: ``data/cars/*.mat`` of the visual analogies by Reed et al. (2015), one file a car.

Each file holds ``im``, uint8 [H, W, 3, 24 azimuths, 4 elevations]. scipy reads numbers from it and runs nothing.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from gem_ray.data.images import check_array
from gem_ray.errors import DataError
from gem_ray.storage import Storage

FACTORS = ("elevation", "azimuth", "object type")
IMAGE_KEY = "im"
MOST_CAR_BYTES = 256 << 20
"""Of one file once it is unpacked; the views of an official one take 4.7 MB."""
UNPACKED_AT_ONCE = 1 << 20
HEADER_BYTES, TAG_BYTES, COMPRESSED = 128, 8, 15
"""Of the MATLAB 5 format: the header of a file, the tag (kind, length) of an element, the kind that is compressed."""


@dataclass(frozen=True)
class CarRows:
    """All views of all cars: car by car, azimuth by azimuth, elevation by elevation.

    Args:
        files: one a car, with its size in bytes
        shape: N, H, W, C
    """

    storage: Storage
    files: tuple[tuple[str, int], ...]
    azimuths: int
    elevations: int
    shape: tuple[int, int, int, int]

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images [n, H, W, 3] of ascending row numbers; each file is read once.

        Raises:
            DataError: a file that is damaged or of another shape than the first
        """
        views = self.azimuths * self.elevations
        found = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for car in np.unique(rows // views):
            low, high = np.searchsorted(rows, [car * views, (car + 1) * views])
            images = read_car(self.storage, self.files[car][0])
            if images.shape != (self.azimuths, self.elevations, *self.shape[1:]):
                raise DataError(
                    f"{IMAGE_KEY} of {self.storage.uri}/{self.files[car][0]} is {list(images.shape)} once turned; "
                    f"the first car has {[self.azimuths, self.elevations, *self.shape[1:]]}: fetch it again"
                )
            found[low:high] = images.reshape(views, *self.shape[1:])[rows[low:high] - car * views]
        return found

    def classes(self) -> NDArray[np.int64]:
        """Factors [N, 3] of every row, as numbered classes."""
        grid = np.indices((len(self.files), self.azimuths, self.elevations)).reshape(3, -1).T
        return grid[:, ::-1].astype(np.int64)

    def digest(self) -> str:
        """Changes where the list of files changes; hex."""
        return hashlib.sha256(repr(self.files).encode()).hexdigest()


def open_cars(storage: Storage, sizes: dict[str, int], max_pixels: int) -> CarRows:
    """The cars of a folder.

    Args:
        sizes: bytes of each .mat file by name
        max_pixels: of a view

    Raises:
        DataError: the first file holds no cars, or too large ones
    """
    files = tuple(sorted(sizes.items()))
    azimuths, elevations, *image = read_car(storage, files[0][0]).shape
    check_array(image[0], image[1], max_pixels, f"{IMAGE_KEY} of {storage.uri}/{files[0][0]}")
    return CarRows(storage, files, azimuths, elevations, (len(files) * azimuths * elevations, *image))


def read_car(storage: Storage, name: str) -> NDArray[np.uint8]:
    """The views of one car: [azimuths, elevations, H, W, 3].

    Raises:
        DataError: no MATLAB file, none of a car, or one that unpacks to over ``MOST_CAR_BYTES``
    """
    where = f"{storage.uri}/{name}"
    try:
        data = storage.read_bytes(name)
        if _unpacks_to_too_much(data):
            raise DataError(f"{where} unpacks to over {MOST_CAR_BYTES:,} bytes, no car does; fetch it again")
        images = loadmat(io.BytesIO(data), variable_names=[IMAGE_KEY]).get(IMAGE_KEY)
    except FileNotFoundError as error:
        raise DataError(f"{where} has vanished since the source was listed; run jobs.prepare again") from error
    except (MatReadError, ValueError, TypeError, NotImplementedError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{where} cannot be read as a MATLAB file: {type(error).__name__}: {error}") from error
    if images is None or images.dtype != np.uint8 or images.ndim != 5 or images.shape[2] != 3:
        shape = "absent" if images is None else f"{images.dtype} {list(images.shape)}"
        raise DataError(f"{IMAGE_KEY} of {where} is {shape}; a car is uint8 [H, W, 3, azimuths, elevations]")
    return images.transpose(3, 4, 0, 1, 2)


def _unpacks_to_too_much(data: bytes) -> bool:
    # scipy unpacks whatever a file of version 5 holds compressed, at once. Version 4 has a zero in front, and nothing
    # is compressed in it.
    left, at = MOST_CAR_BYTES, HEADER_BYTES
    byte_order = "<" if data[HEADER_BYTES - 2 : HEADER_BYTES] == b"IM" else ">"
    while 0 not in data[:4] and at + TAG_BYTES <= len(data) and left >= 0:
        kind, length = struct.unpack_from(f"{byte_order}2I", data, at)
        at += TAG_BYTES
        unpacker, packed = zlib.decompressobj(), data[at : at + length] if kind == COMPRESSED else b""
        while packed and left >= 0:
            left -= len(unpacker.decompress(packed, UNPACKED_AT_ONCE))
            packed = unpacker.unconsumed_tail
        at += length
    return left < 0
