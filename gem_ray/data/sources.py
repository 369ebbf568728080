"""Where images come from, told by what is there: a folder, a zip, a tar, files of arrays, the official layouts of the
field's data sets (dSprites, Shapes3D, Cars3D, CelebA, LSUN, FFHQ), or scenes drawn here.

A source is listed once, on the driver, in an order that depends on names alone.
"""

from __future__ import annotations

import tarfile
import zipfile
import zlib

import numpy as np

from gem_ray.absolute_paths import absolute
from gem_ray.config import PrepareConfig, StorageConfig
from gem_ray.data.cars3d import FACTORS as CAR_FACTORS
from gem_ray.data.cars3d import open_cars
from gem_ray.data.celeba import list_celeba
from gem_ray.data.drawn import DRAWN
from gem_ray.data.factors import DSPRITES, SHAPES3D, with_labels
from gem_ray.data.files import IMAGE_SUFFIXES, FileItem, is_image, tar_items, zip_items
from gem_ray.data.hdf5 import open_hdf5
from gem_ray.data.labelled import LABELS
from gem_ray.data.listings import (
    ArrayListing,
    DrawnListing,
    FileListing,
    KnownListing,
    Listing,
    RowListing,
    RowReader,
)
from gem_ray.data.lmdb_files import DATA as LMDB_DATA
from gem_ray.data.lmdb_files import LmdbListing, list_lmdb
from gem_ray.data.npz import open_rows, read_arrays
from gem_ray.data.splits import splits_by_name
from gem_ray.errors import ConfigError, DataError
from gem_ray.storage import Storage

__all__ = [
    "ArrayListing",
    "DrawnListing",
    "FileListing",
    "KnownListing",
    "Listing",
    "LmdbListing",
    "RowListing",
    "list_source",
]
COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
HDF5_SUFFIXES = (".h5", ".hdf5")
ARRAY_NAMES = ("imgs", "images")
# Of dSprites. Its values have gaps and its classes have not, but both are evenly spaced; either will do.
LABEL_ARRAYS = ("latents_values", "latents_classes")


def list_source(
    source: str, num_images: int, config: StorageConfig, max_pixels: int = PrepareConfig.max_pixels
) -> Listing:
    """Find the images of a source.

    Args:
        source: name of a drawn data set, or a path or fsspec URI of a folder, ``.zip``, ``.tar``, ``.npz`` or ``.h5``
        num_images: how many scenes to draw
        max_pixels: of an image in a file of arrays, which is refused by its header; image files are looked at later

    Raises:
        ConfigError: no number of scenes
        DataError: nothing is there, or nothing that can be read as images
        StorageError: the place cannot be reached
    """
    if source in DRAWN:
        if num_images < 1:
            raise ConfigError(f"prepare.num_images={num_images}: say how many {source} images to draw, at least 1")
        return DrawnListing(source, num_images)
    source = absolute(source)  # tasks read what is listed here, in other working directories
    lower = source.lower()
    if lower.endswith(COMPRESSED_TARS):
        raise DataError(f"{source} is a compressed tar, which has no random access; unpack it to a plain .tar or a zip")
    listing: Listing
    if lower.endswith(".npz"):
        listing = _list_npz(source, config, max_pixels)
    elif lower.endswith(HDF5_SUFFIXES):
        listing = _list_hdf5(source, config, max_pixels)
    elif lower.endswith((".zip", ".tar")):
        listing = _with_splits(_list_archive(source, config))
    else:
        listing = _list_folder(source, config, max_pixels)
    if len(listing) == 0:
        raise DataError(
            f"{source} holds no images: files that end in {', '.join(IMAGE_SUFFIXES)} are looked for, "
            "below a folder or in a zip or tar; check prepare.source"
        )
    return listing


def _split(source: str, config: StorageConfig) -> tuple[Storage, str]:
    folder, _, name = source.rpartition("/")
    return Storage(folder or ("/" if source.startswith("/") else "."), config), name


def _list_folder(source: str, config: StorageConfig, max_pixels: int) -> Listing:
    storage = Storage(source.rstrip("/") or "/", config)
    sizes = storage.sizes()
    if LABELS in sizes:
        return list_celeba(storage, sizes)
    databases = [name for name in sizes if name.rsplit("/", 1)[-1] == LMDB_DATA]
    if databases:
        return _list_databases(storage, [name.removesuffix(LMDB_DATA).rstrip("/") for name in databases])
    cars = {name: size for name, size in sizes.items() if name.lower().endswith(".mat")}
    items = tuple(FileItem(name, name, 0, size) for name, size in sizes.items() if is_image(name))
    if cars and not items:
        reader = open_cars(storage, cars, max_pixels)
        return with_labels(_whole(reader), reader.classes(), CAR_FACTORS)
    return _with_splits(FileListing(storage, items))


def _list_databases(storage: Storage, folders: list[str]) -> Listing:
    listing = list_lmdb(storage, folders)
    # A single database may be the source itself, and its own name then says which split it is.
    own = storage.root.rsplit("/", 1)[-1]
    by_folder = splits_by_name([f"{own if folders == [''] else name}/x" for name in folders])
    return listing if by_folder is None else KnownListing(listing, splits=by_folder[listing.folder])


def _with_splits(listing: FileListing) -> Listing:
    splits = splits_by_name([item.label for item in listing.items])
    return listing if splits is None else KnownListing(listing, splits=splits)


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


def _list_npz(source: str, config: StorageConfig, max_pixels: int) -> Listing:
    storage, name = _split(source, config)
    images = _whole(open_rows(storage, name, ARRAY_NAMES, max_pixels))
    arrays = read_arrays(storage, name, LABEL_ARRAYS)
    labels = next((arrays[key] for key in LABEL_ARRAYS if key in arrays), None)
    if labels is None:
        return images
    if labels.ndim != 2 or len(labels) != len(images) or labels.dtype.kind not in "iuf":
        raise DataError(
            f"the labels of {source} are {labels.dtype} {list(labels.shape)}; {len(images)} images need one row of "
            "numbers each"
        )
    # The official file begins with the colour, which is white throughout; reduced ones leave it out.
    names = DSPRITES if labels.shape[1] == len(DSPRITES) else ("colour", *DSPRITES)
    return with_labels(images, labels, names)


def _list_hdf5(source: str, config: StorageConfig, max_pixels: int) -> Listing:
    storage, name = _split(source, config)
    reader, labels = open_hdf5(storage, name, max_pixels)
    images = _whole(reader)
    return images if labels is None else with_labels(images, labels, SHAPES3D)


def _whole(reader: RowReader) -> RowListing:
    return RowListing(reader, np.arange(reader.shape[0], dtype=np.int64))
