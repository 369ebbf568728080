"""A source once it is listed: how many images there are, a part of them, and a digest of what they are.

What a Ray task needs to make its own shard is a part of a listing. ``RowListing`` is read by the driver, since files of
arrays are read fastest from end to end; its parts go to tasks as ``ArrayListing``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gem_ray.data.files import FileItem
from gem_ray.data.lmdb_files import LmdbListing
from gem_ray.storage import Storage


@dataclass(frozen=True)
class FileListing:
    """Image files below one folder of storage, or members of one archive in it."""

    storage: Storage
    items: tuple[FileItem, ...]

    def __len__(self) -> int:
        return len(self.items)

    def part(self, positions: NDArray[np.int64]) -> FileListing:
        """Only these files."""
        return FileListing(self.storage, tuple(self.items[position] for position in positions))

    def digest(self) -> str:
        """Changes where the list of images changes; hex."""
        lines = (f"{item.label}\0{item.start}\0{item.length}\0{item.crc}\n" for item in self.items)
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class ArrayListing:
    """Images in memory: uint8 [N, H, W, 1 or 3]."""

    images: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.images)

    def part(self, positions: NDArray[np.int64]) -> ArrayListing:
        """Only these images."""
        return ArrayListing(self.images[positions])

    def digest(self) -> str:
        """Changes where an image changes; hex."""
        return hashlib.sha256(np.ascontiguousarray(self.images).data).hexdigest()


class RowReader(Protocol):
    """A file (or files) of decoded images, numbered from 0."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, H, W, C."""
        ...

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images [n, H, W, C] of ascending row numbers."""
        ...

    def digest(self) -> str:
        """Changes where the images change; hex."""
        ...


@dataclass(frozen=True)
class RowListing:
    """Images that stay in their file until they are needed: rows int64 [N] of it."""

    reader: RowReader
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, positions: NDArray[np.int64]) -> RowListing:
        """Only these images."""
        return RowListing(self.reader, self.rows[positions])

    def digest(self) -> str:
        """Changes where the file changes; hex."""
        return self.reader.digest()

    @property
    def image_bytes(self) -> int:
        """Of one image."""
        return int(np.prod(self.reader.shape[1:]))

    def loaded(self) -> ArrayListing:
        """Read into memory; every row once, however often it is listed."""
        rows, places = np.unique(self.rows, return_inverse=True)
        return ArrayListing(self.reader.read(rows)[places])


@dataclass(frozen=True)
class DrawnListing:
    """Scenes of one of ``gem_ray.data.drawn.DRAWN``."""

    name: str
    count: int

    def __len__(self) -> int:
        return self.count

    def part(self, positions: NDArray[np.int64]) -> DrawnListing:
        """As many scenes; which ones, their positions say."""
        return DrawnListing(self.name, len(positions))

    def digest(self) -> str:
        """Scenes depend on the seed alone."""
        return ""


Images = FileListing | LmdbListing | ArrayListing | RowListing


@dataclass(frozen=True)
class KnownListing:
    """Images of which more is known than their pixels.

    Args:
        names: K attributes; () where there are none
        values: float32 [N, K] or None; NaN where one is not known
        splits: int8 [N], the official split of each image by its number in ``labelled.SPLITS``; None without splits
    """

    images: Images
    names: tuple[str, ...] = ()
    values: NDArray[np.float32] | None = None
    splits: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def part(self, positions: NDArray[np.int64]) -> KnownListing:
        """Only these images; all of one split, which the task need not know."""
        values = None if self.values is None else self.values[positions]
        return KnownListing(self.images.part(positions), self.names, values)

    def digest(self) -> str:
        """Changes where the images, what is known of them or their splits change; hex."""
        said = hashlib.sha256(repr((self.images.digest(), self.names)).encode())
        for array in (self.values, self.splits):
            said.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
        return said.hexdigest()


Listing = Images | DrawnListing | KnownListing
