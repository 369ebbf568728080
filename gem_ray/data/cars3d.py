"""Cars3D in its own layout: ``data/cars/*.mat`` of the visual analogies by Reed et al. (2015), one file a car.

Each file holds ``im``, uint8 [H, W, 3, 24 azimuths, 4 elevations]. scipy reads numbers from it and runs nothing.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from gem_ray.errors import DataError
from gem_ray.storage import Storage

FACTORS = ("elevation", "azimuth", "object type")
IMAGE_KEY = "im"


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


def open_cars(storage: Storage, sizes: dict[str, int]) -> CarRows:
    """The cars of a folder.

    Args:
        sizes: bytes of each .mat file by name

    Raises:
        DataError: the first file holds no cars
    """
    files = tuple(sorted(sizes.items()))
    azimuths, elevations, *image = read_car(storage, files[0][0]).shape
    return CarRows(storage, files, azimuths, elevations, (len(files) * azimuths * elevations, *image))


def read_car(storage: Storage, name: str) -> NDArray[np.uint8]:
    """The views of one car: [azimuths, elevations, H, W, 3].

    Raises:
        DataError: no MATLAB file, or none of a car
    """
    where = f"{storage.uri}/{name}"
    try:
        images = loadmat(io.BytesIO(storage.read_bytes(name)), variable_names=[IMAGE_KEY]).get(IMAGE_KEY)
    except FileNotFoundError as error:
        raise DataError(f"{where} has vanished since the source was listed; run jobs.prepare again") from error
    except (MatReadError, ValueError, TypeError, NotImplementedError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{where} cannot be read as a MATLAB file: {type(error).__name__}: {error}") from error
    if images is None or images.dtype != np.uint8 or images.ndim != 5 or images.shape[2] != 3:
        shape = "absent" if images is None else f"{images.dtype} {list(images.shape)}"
        raise DataError(f"{IMAGE_KEY} of {where} is {shape}; a car is uint8 [H, W, 3, azimuths, elevations]")
    return images.transpose(3, 4, 0, 1, 2)
