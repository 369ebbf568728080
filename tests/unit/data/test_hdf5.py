"""Shapes3D's file, small: rows out of compressed chunks, labels as factors, and clear errors."""

from __future__ import annotations

import sys
from itertools import product

import numpy as np
import pytest

from gem_ray.config import StorageConfig
from gem_ray.data import hdf5
from gem_ray.data.correlated import is_full_grid
from gem_ray.data.hdf5 import Hdf5Rows
from gem_ray.data.listings import KnownListing, RowListing
from gem_ray.data.sources import list_source
from gem_ray.errors import DataError

CONFIG = StorageConfig()


def write_shapes3d(path, chunks=(100, 4, 4, 1)):
    """The layout of ``3dshapes.h5``; images and labels."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'gem-ray[datasets]'")
    hues, scales, shapes, angles = np.arange(3) / 10, (0.75, 1.0), range(4), (-30.0, 0.0, 30.0)
    labels = np.array(list(product(hues, hues, hues, scales, shapes, angles)))
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8, 3), dtype=np.uint8)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, chunks=chunks, compression="gzip" if chunks else None)
        file.create_dataset("labels", data=labels)
    return images, labels


@pytest.mark.parametrize("chunks", [(100, 4, 4, 1), (1, 8, 8, 3), None])
def test_rows_come_with_their_factors(tmp_path, chunks):
    images, labels = write_shapes3d(tmp_path / "3dshapes.h5", chunks)
    listing = list_source(str(tmp_path / "3dshapes.h5"), 0, CONFIG)
    assert isinstance(listing, KnownListing)
    assert listing.names == ("floor hue", "wall hue", "object hue", "scale", "shape", "orientation")
    assert np.allclose(listing.values[:, 4], labels[:, 4] / 3)
    assert is_full_grid(listing.values)
    positions = np.array([640, 0, 99, 100, 640, 333])
    part = listing.part(positions)
    assert isinstance(part.images, RowListing)
    assert np.array_equal(part.images.loaded().images, images[positions])
    assert np.allclose(part.values[:, 5], (labels[positions, 5] + 30) / 60)


def test_each_chunk_is_unpacked_once_and_no_other(tmp_path, monkeypatch):
    write_shapes3d(tmp_path / "3dshapes.h5")
    listing = list_source(str(tmp_path / "3dshapes.h5"), 0, CONFIG)
    import h5py

    asked = []
    read = h5py.Dataset.__getitem__

    def noted(self, key):
        asked.append(key)
        return read(self, key)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", noted)
    reader = listing.images.reader
    assert isinstance(reader, Hdf5Rows)
    reader.read(np.array([1, 2, 250, 640]))
    assert asked == [slice(0, 300), slice(600, 900)]


def test_a_damaged_file_and_one_without_images_are_named(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'gem-ray[datasets]'")
    (tmp_path / "a.h5").write_bytes(b"no such thing" * 50)
    with pytest.raises(DataError, match=r"a\.h5 cannot be read as HDF5"):
        list_source(str(tmp_path / "a.h5"), 0, CONFIG)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["pictures"] = np.zeros(3)
    with pytest.raises(DataError, match="holds pictures; the images must be in a data set named images"):
        list_source(str(tmp_path / "b.h5"), 0, CONFIG)
    with pytest.raises(DataError, match=r"c\.h5 does not exist"):
        list_source(str(tmp_path / "c.h5"), 0, CONFIG)


def test_a_missing_package_is_named_with_the_remedy(tmp_path, monkeypatch):
    (tmp_path / "a.h5").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"needs the package h5py: pip install 'gem-ray\[datasets\]'"):
        list_source(str(tmp_path / "a.h5"), 0, CONFIG)


def write_bomb(path, shape=(4, 1000, 1000, 3), labels=None):
    """Images that are black, and labels of any shape; a few KB."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'gem-ray[datasets]'")
    with h5py.File(path, "w") as file:
        chunks = (1, *shape[1:])
        file.create_dataset("images", data=np.zeros(shape, np.uint8), chunks=chunks, compression="gzip")
        if labels:
            file.create_dataset("labels", shape=labels, dtype="f8", compression="gzip")
    return str(path)


def test_too_large_images_and_labels_are_refused_by_their_headers(tmp_path, peak_bytes):
    source = write_bomb(tmp_path / "a.h5")
    with peak_bytes() as peak, pytest.raises(DataError, match=r"images of .*a\.h5 holds .* 1000 x 1000 pixels, over"):
        list_source(source, 0, CONFIG, max_pixels=999_999)
    assert peak[0] < 1_000_000
    source = write_bomb(tmp_path / "b.h5", (4, 8, 8, 3), labels=(4, 10**7))
    with peak_bytes() as peak, pytest.raises(DataError, match=r"labels of .*b\.h5 takes 320,000,000 bytes"):
        list_source(source, 0, CONFIG)
    assert peak[0] < 1_000_000


def test_of_large_images_few_are_read_at_once(tmp_path, monkeypatch, peak_bytes):
    reader = list_source(write_bomb(tmp_path / "a.h5", (16, 1000, 1000, 3)), 0, CONFIG).reader
    monkeypatch.setattr(hdf5, "MOST_READ_BYTES", 2 * reader.read(np.array([3])).nbytes)
    with peak_bytes() as peak:
        assert reader.read(np.array([3, 15])).shape == (2, 1000, 1000, 3)
    assert peak[0] < 6 * 3_000_000  # the two, and two that are read at once


def test_chunks_that_are_too_large_and_images_that_were_never_written_are_refused(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'gem-ray[datasets]'")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", shape=(10**12, 8, 8, 3), dtype=np.uint8, chunks=(4, 8, 8, 3))
    with pytest.raises(DataError, match=r"images of .*a\.h5 .* most was never written"):
        list_source(str(tmp_path / "a.h5"), 0, CONFIG)
    monkeypatch.setattr(hdf5, "MOST_CHUNK_BYTES", 191)
    with pytest.raises(DataError, match="chunks of 192 bytes, over 191"):
        list_source(write_bomb(tmp_path / "b.h5", (4, 8, 8, 3)), 0, CONFIG)
