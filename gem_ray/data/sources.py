"""Where images come from: a folder, a zip, a tar, arrays in an npz file, or scenes drawn here.

A source is listed once, on the driver; what a task then needs to read its own part is a part of that listing.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np

from gem_ray.config import StorageConfig
from gem_ray.data.drawn import DRAWN
from gem_ray.data.files import IMAGE_SUFFIXES, FileItem, is_image, tar_items, zip_items
from gem_ray.errors import ConfigError, DataError
from gem_ray.storage import Storage

COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
ARRAY_NAMES = ("imgs", "images")


@dataclass(frozen=True)
class FileListing:
    """Image files below one folder of storage, or members of one archive in it."""

    storage: Storage
    items: tuple[FileItem, ...]

    def __len__(self) -> int:
        return len(self.items)

    def part(self, positions: np.ndarray) -> FileListing:
        """Only these files."""
        return FileListing(self.storage, tuple(self.items[position] for position in positions))

    def digest(self) -> str:
        """Changes where the list of images changes; hex."""
        lines = (f"{item.label}\0{item.start}\0{item.length}\0{item.crc}\n" for item in self.items)
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class ArrayListing:
    """Images already decoded: uint8 [N, H, W, 3]."""

    images: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def part(self, positions: np.ndarray) -> ArrayListing:
        """Only these images."""
        return ArrayListing(self.images[positions])

    def digest(self) -> str:
        """Changes where an image changes; hex."""
        return hashlib.sha256(self.images.data).hexdigest()


@dataclass(frozen=True)
class DrawnListing:
    """Scenes of one of ``gem_ray.data.drawn.DRAWN``."""

    name: str
    count: int

    def __len__(self) -> int:
        return self.count

    def part(self, positions: np.ndarray) -> DrawnListing:
        """As many scenes; which ones, their positions say."""
        return DrawnListing(self.name, len(positions))

    def digest(self) -> str:
        """Scenes depend on the seed alone."""
        return ""


Listing = FileListing | ArrayListing | DrawnListing


def list_source(source: str, num_images: int, config: StorageConfig) -> Listing:
    """Find the images of a source, in an order that depends on their names alone.

    Args:
        source: name of a drawn data set, or a path or fsspec URI of a folder, ``.zip``, ``.tar`` or ``.npz``
        num_images: how many scenes to draw

    Raises:
        ConfigError: no number of scenes
        DataError: nothing is there, or nothing that can be read as images
        StorageError: the place cannot be reached
    """
    if source in DRAWN:
        if num_images < 1:
            raise ConfigError(f"prepare.num_images={num_images}: say how many {source} images to draw, at least 1")
        return DrawnListing(source, num_images)
    lower = source.lower()
    if lower.endswith(COMPRESSED_TARS):
        raise DataError(f"{source} is a compressed tar, which has no random access; unpack it to a plain .tar or a zip")
    listing: Listing
    if lower.endswith(".npz"):
        listing = _list_npz(source, config)
    elif lower.endswith((".zip", ".tar")):
        listing = _list_archive(source, config)
    else:
        listing = _list_folder(source, config)
    if len(listing) == 0:
        raise DataError(
            f"{source} holds no images: files that end in {', '.join(IMAGE_SUFFIXES)} are looked for, "
            "below a folder or in a zip or tar; check prepare.source"
        )
    return listing


def _split(source: str, config: StorageConfig) -> tuple[Storage, str]:
    folder, _, name = source.rpartition("/")
    return Storage(folder or ("/" if source.startswith("/") else "."), config), name


def _list_folder(source: str, config: StorageConfig) -> FileListing:
    storage = Storage(source.rstrip("/") or "/", config)
    items = [FileItem(name, name, 0, size) for name, size in storage.sizes().items() if is_image(name)]
    return FileListing(storage, tuple(items))


def _list_archive(source: str, config: StorageConfig) -> FileListing:
    storage, name = _split(source, config)

    def read_directory() -> list[FileItem]:
        with storage.fs.open(storage.path(name), "rb") as file:
            return zip_items(name, file) if source.lower().endswith(".zip") else tar_items(name, file)

    try:
        items = storage.attempt(f"list the members of {name}", read_directory)
    except FileNotFoundError as error:
        raise DataError(f"{source} does not exist; check prepare.source") from error
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{source} is not a whole archive: {type(error).__name__}: {error}; fetch it again") from error
    return FileListing(storage, tuple(sorted(items, key=lambda item: item.label)))


def _list_npz(source: str, config: StorageConfig) -> ArrayListing:
    storage, name = _split(source, config)
    try:
        data = storage.read_bytes(name)
    except FileNotFoundError as error:
        raise DataError(f"{source} does not exist; check prepare.source") from error
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            found = [key for key in ARRAY_NAMES if key in arrays.files]
            if not found:
                raise DataError(
                    f"{source} holds the arrays {', '.join(arrays.files)}; name the images {' or '.join(ARRAY_NAMES)}"
                )
            images = arrays[found[0]]
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{source} cannot be read as npz: {type(error).__name__}: {error}; write it again") from error
    return ArrayListing(_as_rgb(images, f"array {found[0]} of {source}"))


def _as_rgb(images: np.ndarray, where: str) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype not in (np.uint8, np.bool_) or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise DataError(
            f"{where} is {images.dtype} {list(images.shape)}; needed is uint8, 0..255 or {{0, 1}}, of shape "
            "[N, H, W], [N, H, W, 1] or [N, H, W, 3]"
        )
    images = images.astype(np.uint8)
    if images.size and images.max() <= 1:
        images = images * np.uint8(255)
    return np.ascontiguousarray(np.broadcast_to(images, (*images.shape[:3], 3)))
